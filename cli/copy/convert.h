#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/transfer/messages.h"

namespace flurry::copy {

// The controller's edge of the copy protocol: values to bytes of copy.proto's messages and back. Bad bytes
// are kInvalidInput.

using IndexOfPath = std::unordered_map<std::string_view, uint32_t>;

std::string encode_hello(const transfer::Hello& hello);
std::string encode_paths(std::span<const nix::PathInfo> paths);
// Every reference must be in `index_of`. `base`: what a delta that follows is against; null: the NAR follows.
std::string encode_path_info(const nix::PathInfo& info, const IndexOfPath& index_of,
                             const nix::PathInfo* base = nullptr);
std::string encode_stop(const Error& error);

// Indices are below `path_count` and ascend; the substituted are among the missing.
Result<transfer::Missing> decode_missing(std::string_view payload, size_t path_count);
// How many more.
Result<uint32_t> decode_stored(std::string_view payload);
// Those that failed are among `substituted`, and ascend.
Result<transfer::Fetched> decode_fetched(std::string_view payload, std::span<const uint32_t> substituted);
Result<transfer::Done> decode_done(std::string_view payload);
// What the agent said before it stopped.
Error decode_failure(std::string_view payload);

}  // namespace flurry::copy
