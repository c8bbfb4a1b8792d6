#pragma once

#include <cstdint>
#include <string>

#include "core/names.h"
#include "core/result.h"

namespace flurry::agent {

// What an import needs of the store's file system. Any thread.

// Bytes that are free for use on the file system of `store_dir` (of its nearest parent that exists).
Result<uint64_t> free_bytes(const std::string& store_dir);

// <state_dir>/gcroots/flurry/<deployment>-<hash>-incoming -> top; replaces an older one in one step.
Result<void> hold_closure(const std::string& state_dir, const DeploymentId& deployment, const StorePath& top);

// Returns when all of the file system is on disk: Nix does not sync what it unpacks, and after a power
// cut its database would call empty files valid.
Result<void> sync_store(const std::string& store_dir);

}  // namespace flurry::agent
