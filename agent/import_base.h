#pragma once

#include <string>

#include "core/delta/delta_reader.h"
#include "core/nix/daemon.h"

namespace flurry::agent {

// The host's side of a delta: opens what `path` is a successor of. `base_hash` is what the controller knows
// of the base's NAR: 64 hex digits. The base can't be collected from then on for as long as `store` lives.
// kUnsupported where this host has no such base, or has another one under its name: then the path has to come
// in full. `store_dir` is where the files are. One thread at a time.
Result<delta::DeltaReader> open_base(nix::Daemon& store, const std::string& store_dir, const StorePath& base,
                                     const std::string& base_hash, const nix::PathInfo& path,
                                     delta::DeltaReader::Input input, TimePoint deadline);

}  // namespace flurry::agent
