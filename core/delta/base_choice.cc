#include "core/delta/base_choice.h"

#include "core/delta/hash_pairs.h"

namespace flurry::delta {
namespace {

// A base is walked and partly read; what is so much smaller hardly comes from it.
constexpr uint64_t kTimesSmaller = 64;
constexpr uint64_t kAlwaysSmall = 1 << 20;

uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

}  // namespace

BaseChoice::BaseChoice(const std::vector<nix::PathInfo>& bases) {
  for (const auto& base : bases) {
    by_name_[std::string(base.path.name())].push_back(&base);
    by_name_without_version_[name_without_version(base.path.name())].push_back(&base);
  }
}

const nix::PathInfo* BaseChoice::nearest(const Index& index, const std::string& name,
                                         const nix::PathInfo& path) {
  const auto found = index.find(name);
  if (found == index.end()) return nullptr;
  const nix::PathInfo* best = nullptr;
  for (const auto* base : found->second) {
    if (base->path == path.path) continue;
    if (base->nar_size > kAlwaysSmall && base->nar_size / kTimesSmaller > path.nar_size) continue;
    if (best == nullptr || distance(base->nar_size, path.nar_size) < distance(best->nar_size, path.nar_size))
      best = base;
  }
  return best;
}

const nix::PathInfo* BaseChoice::find(const nix::PathInfo& path) const {
  if (const auto* base = nearest(by_name_, std::string(path.path.name()), path)) return base;
  return nearest(by_name_without_version_, name_without_version(path.path.name()), path);
}

}  // namespace flurry::delta
