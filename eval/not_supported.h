#pragma once

#include "core/fleet.h"
#include "core/result.h"

namespace flurry::eval {

// Refuses what the flake may say and this version can't do, when it would change what happens:
// kUnsupported, naming the place. Never silently ignored.
Result<void> refuse_unsupported(const Fleet& fleet);

}  // namespace flurry::eval
