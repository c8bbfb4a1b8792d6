#include "cli/copy/send_order.h"

#include <algorithm>
#include <iterator>

namespace flurry::copy {

SendOrder::SendOrder(std::span<const nix::PathInfo> closure, const IndexOfPath& index_of,
                     const transfer::Missing& missing) {
  if (missing.substituted.empty()) {
    now = missing.indices;
    return;
  }
  // By path: is it fetched, or does it wait for such a one? What the host has waits for nothing.
  std::vector<bool> waits(closure.size(), false);
  for (const uint32_t index : missing.substituted) waits[index] = true;
  for (const uint32_t index : missing.indices) {
    if (waits[index]) continue;
    for (const auto& reference : closure[index].references)
      if (waits[index_of.at(reference.str())]) waits[index] = true;
    (waits[index] ? later : now).push_back(index);
  }
}

std::vector<uint32_t> SendOrder::after(std::span<const uint32_t> failed) const {
  std::vector<uint32_t> all;
  std::merge(later.begin(), later.end(), failed.begin(), failed.end(), std::back_inserter(all));
  return all;
}

}  // namespace flurry::copy
