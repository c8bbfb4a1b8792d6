#include "cli/copy/bases.h"

#include <set>

#include "core/nix/closure.h"

namespace flurry::copy {

Bases::Bases(std::vector<nix::PathInfo> paths)
    : paths_(std::make_unique<const std::vector<nix::PathInfo>>(std::move(paths))),
      choice_(std::make_unique<const delta::BaseChoice>(*paths_)) {}

Result<Bases> Bases::load(nix::Daemon& store, std::span<const StorePath> tops, TimePoint deadline) {
  // Else the collector could take a base while it is read.
  RETURN_IF_ERROR(store.add_temp_roots(tops, deadline));
  ASSIGN_OR_RETURN(const auto known, store.query_valid_paths(tops, deadline));
  std::vector<nix::PathInfo> all;
  std::set<StorePath> seen;
  for (const auto& top : known) {
    ASSIGN_OR_RETURN(auto closure, nix::query_closure(store, top, deadline));
    for (auto& info : closure)
      if (seen.insert(info.path).second) all.push_back(std::move(info));
  }
  return Bases(std::move(all));
}

}  // namespace flurry::copy
