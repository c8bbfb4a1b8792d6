#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

namespace flurry::delta {

// The part of a store path that says which one it is: 32 characters of Nix's base 32.
constexpr size_t kHashSize = 32;
using StoreHash = std::array<char, kHashSize>;

struct HashPair {
  StoreHash from;
  StoreHash to;
};

// Replaces the hashes of store paths in bytes: what was only rebuilt because a dependency changed differs in
// nothing else. Both sides must find the same places, so there is one way to look: from the front, each run
// of 32 characters of Nix's base 32 at the first place that is known. Any thread.
class HashRewriter {
 public:
  // Of two pairs with one `from` the first counts.
  explicit HashRewriter(std::vector<HashPair> pairs);

  bool is_empty() const { return pairs_.empty(); }
  const std::vector<HashPair>& pairs() const { return pairs_; }

  // Rewrites `bytes` in place and returns how many of them, from the front, are final. The others belong in
  // front of the next bytes; with `is_last` there are none.
  size_t rewrite(std::span<char> bytes, bool is_last) const;

 private:
  const HashPair* find(const char* hash) const;

  std::vector<HashPair> pairs_;  // sorted by `from`
};

}  // namespace flurry::delta
