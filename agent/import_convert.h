#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/nix/wire.h"
#include "core/transfer/messages.h"

namespace flurry::agent {

// The agent's edge of the copy protocol: bytes of copy.proto's messages to checked values and back. Bad
// bytes are kInvalidInput.

Result<transfer::Hello> decode_hello(std::string_view payload);

// Appends to `closure`; a path that is there already, or more than `count_max` in all, is refused.
Result<void> decode_paths(std::string_view payload, size_t count_max,
                          std::vector<transfer::PathEntry>& closure);

// What a path comes as a delta against.
struct IncomingBase {
  StorePath path;
  std::string nar_hash;  // 64 hex digits
};

struct IncomingPath {
  uint32_t index = 0;
  nix::PathInfo info;
  std::vector<uint32_t> references;  // as in `info`, by their places in the closure
  std::optional<IncomingBase> base;  // none: its NAR comes
};
// Takes only what can be registered next: its references come before it in `closure`, or are itself.
Result<IncomingPath> decode_path_info(std::string_view payload,
                                      const std::vector<transfer::PathEntry>& closure);

// What the controller said before it stopped.
Error decode_stop(std::string_view payload);

std::string encode_missing(const transfer::Missing& missing);
// `count` more paths are registered.
std::string encode_stored(uint32_t count);
std::string encode_fetched(const transfer::Fetched& fetched);
std::string encode_done(const transfer::Done& done);
std::string encode_failure(const transfer::Failure& failure);

}  // namespace flurry::agent
