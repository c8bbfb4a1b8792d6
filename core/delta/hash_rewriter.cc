#include "core/delta/hash_rewriter.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace flurry::delta {
namespace {

// Nix: src/libutil/hash.cc; without e, o, u and t.
constexpr std::string_view kBase32 = "0123456789abcdfghijklmnpqrsvwxyz";

constexpr std::array<bool, 256> make_table() {
  std::array<bool, 256> table{};
  for (const char c : kBase32) table[static_cast<unsigned char>(c)] = true;
  return table;
}
constexpr auto kIsBase32 = make_table();

bool is_base32(char c) { return kIsBase32[static_cast<unsigned char>(c)]; }

}  // namespace

HashRewriter::HashRewriter(std::vector<HashPair> pairs) : pairs_(std::move(pairs)) {
  const auto by_from = [](const HashPair& a, const HashPair& b) { return a.from < b.from; };
  std::stable_sort(pairs_.begin(), pairs_.end(), by_from);
  const auto same = [](const HashPair& a, const HashPair& b) { return a.from == b.from; };
  pairs_.erase(std::unique(pairs_.begin(), pairs_.end(), same), pairs_.end());
}

const HashPair* HashRewriter::find(const char* hash) const {
  const auto less = [](const HashPair& pair, const char* wanted) {
    return std::memcmp(pair.from.data(), wanted, kHashSize) < 0;
  };
  const auto it = std::lower_bound(pairs_.begin(), pairs_.end(), hash, less);
  if (it == pairs_.end() || std::memcmp(it->from.data(), hash, kHashSize) != 0) return nullptr;
  return &*it;
}

size_t HashRewriter::rewrite(std::span<char> bytes, bool is_last) const {
  size_t at = 0;
  size_t known = 0;  // characters from `at` on that are known to be of base 32
  while (at + kHashSize <= bytes.size()) {
    // From the back: one that is none of base 32 rules out all places up to it.
    size_t end = kHashSize;
    while (end > known && is_base32(bytes[at + end - 1])) --end;
    if (end > known) {
      at += end;
      known = 0;
      continue;
    }
    if (const HashPair* pair = find(bytes.data() + at)) {
      std::memcpy(bytes.data() + at, pair->to.data(), kHashSize);
      at += kHashSize;
      known = 0;
    } else {
      ++at;
      known = kHashSize - 1;
    }
  }
  return is_last ? bytes.size() : at;
}

}  // namespace flurry::delta
