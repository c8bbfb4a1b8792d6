#pragma once

#include "core/delta/hash_rewriter.h"
#include "core/nix/path_info.h"

namespace flurry::delta {

// What is replaced in the files of `base` to come near those of `path`: its own hash, and those of its
// references that have a successor among the new one's. A successor has the same name, or is the only one of
// the same name but for its version. Both sides come to the same. Any thread.
HashRewriter hash_pairs(const nix::PathInfo& base, const nix::PathInfo& path);

// The name without its version, as Nix divides them, but for the outputs' suffix behind it:
// "openssl-3.0.1-dev" gives "openssl-dev".
std::string name_without_version(std::string_view name);

}  // namespace flurry::delta
