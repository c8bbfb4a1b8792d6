#include "core/delta/hash_pairs.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

namespace flurry::delta {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

StoreHash hash_of(const StorePath& path) {
  StoreHash out{};
  std::memcpy(out.data(), path.hash_part().data(), kHashSize);
  return out;
}

using References = std::vector<const StorePath*>;

// What only one of both refers to, without the paths themselves.
References only_in(const nix::PathInfo& one, const nix::PathInfo& other) {
  std::set<std::string_view> others;
  for (const auto& path : other.references) others.insert(path.str());
  References out;
  for (const auto& path : one.references)
    if (path != one.path && !others.contains(path.str())) out.push_back(&path);
  return out;
}

// Pairs those that are the only ones of their name on both sides, and takes them out.
template <typename NameOf>
void pair_by(const NameOf& name_of, References& from, References& to, std::vector<HashPair>& pairs) {
  struct Both {
    References from, to;
    bool is_pair() const { return from.size() == 1 && to.size() == 1; }
  };
  std::map<std::string, Both> names;
  for (const auto* path : from) names[name_of(path->name())].from.push_back(path);
  for (const auto* path : to) names[name_of(path->name())].to.push_back(path);
  for (const auto& [name, both] : names)
    if (both.is_pair()) pairs.push_back({hash_of(*both.from[0]), hash_of(*both.to[0])});
  const auto is_paired = [&](const StorePath* path) { return names[name_of(path->name())].is_pair(); };
  std::erase_if(from, is_paired);
  std::erase_if(to, is_paired);
}

}  // namespace

std::string name_without_version(std::string_view name) {
  size_t version = 0;
  while (version + 1 < name.size() && (name[version] != '-' || is_letter(name[version + 1]))) ++version;
  if (version + 1 >= name.size()) return std::string(name);
  std::string out(name.substr(0, version));
  const auto suffix = name.substr(name.rfind('-'));
  if (suffix.size() > 1 && std::all_of(suffix.begin() + 1, suffix.end(), is_letter)) out += suffix;
  return out;
}

HashRewriter hash_pairs(const nix::PathInfo& base, const nix::PathInfo& path) {
  std::vector<HashPair> pairs{{hash_of(base.path), hash_of(path.path)}};
  References from = only_in(base, path);
  References to = only_in(path, base);
  pair_by([](std::string_view name) { return std::string(name); }, from, to, pairs);
  pair_by([](std::string_view name) { return name_without_version(name); }, from, to, pairs);
  return HashRewriter(std::move(pairs));
}

}  // namespace flurry::delta
