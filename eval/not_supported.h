#pragma once

#include "core/fleet.h"
#include "core/result.h"

namespace flurry::eval {

// Refuses what the flake may say and this version can't do, when it would change what happens:
// kUnsupported, naming the place. Never silently ignored. What a host says is that host's error.
Result<void> refuse_unsupported(Fleet& fleet);

}  // namespace flurry::eval
