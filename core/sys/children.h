#pragma once

#include "core/time.h"

namespace flurry::sys {

// Ends the programs that this process has started and that still run, each with its process group: SIGTERM,
// and SIGKILL after `patience`. For a process that is about to end itself without waiting for its threads; it
// returns when they are gone, or soon after `patience`. Any thread; others may go on waiting for them.
void end_children(Millis patience);

}  // namespace flurry::sys
