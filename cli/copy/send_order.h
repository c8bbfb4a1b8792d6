#pragma once

#include <span>
#include <vector>

#include "cli/copy/convert.h"

namespace flurry::copy {

// What of the missing paths can be sent while the host fetches others itself, and what has to wait for the
// end of that. Both ascend, so references are first.
struct SendOrder {
  std::vector<uint32_t> now;
  std::vector<uint32_t> later;  // refer to what is fetched, at first or second hand

  // `index_of` counts over `closure`, whose references come first.
  SendOrder(std::span<const nix::PathInfo> closure, const IndexOfPath& index_of,
            const transfer::Missing& missing);

  // What is to be sent after all: those that failed, and what waited.
  std::vector<uint32_t> after(std::span<const uint32_t> failed) const;
};

}  // namespace flurry::copy
