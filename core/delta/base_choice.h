#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/nix/path_info.h"

namespace flurry::delta {

// Finds the path that a new one is most likely a successor of, among those that a host has. Names are all
// that it goes by: a wrong guess costs bytes, never truth. Any thread, once it is built.
class BaseChoice {
 public:
  // `bases` must outlive it.
  explicit BaseChoice(const std::vector<nix::PathInfo>& bases);

  // The base of the same name, else of the same name but for the version; of several the one of the nearest
  // size. Null where there is none, or none that is worth it: where the path is much smaller than the base.
  const nix::PathInfo* find(const nix::PathInfo& path) const;

 private:
  using Index = std::unordered_map<std::string, std::vector<const nix::PathInfo*>>;
  static const nix::PathInfo* nearest(const Index& index, const std::string& name, const nix::PathInfo& path);

  Index by_name_;
  Index by_name_without_version_;
};

}  // namespace flurry::delta
