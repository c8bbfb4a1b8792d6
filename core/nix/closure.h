#pragma once

#include <span>
#include <vector>

#include "core/nix/daemon.h"

namespace flurry::nix {

// More than any system has; keeps a broken store from growing our memory.
constexpr size_t kClosurePathsMax = 200'000;

// `top` and all that it refers to, references first, `top` last. kInvalidInput when some path is not
// valid in the daemon's store or references form a cycle.
Result<std::vector<PathInfo>> query_closure(Daemon& daemon, const StorePath& top, TimePoint deadline);

// Sorts so that each path comes after all it refers to. Every reference must be in `infos`; a path may refer
// to itself. The order is the same for the same set of paths.
Result<std::vector<PathInfo>> sort_references_first(std::vector<PathInfo> infos);

}  // namespace flurry::nix
