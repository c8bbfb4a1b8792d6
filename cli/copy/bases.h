#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/delta/base_choice.h"
#include "core/nix/daemon.h"

namespace flurry::copy {

// What a host has, as far as this machine's store has it too: what a path that the host lacks may be a
// successor of. One thread while it is made, then any.
class Bases {
 public:
  // The closures of `tops`, which the host has. Those that this store lacks are left out: then there is no
  // delta, and no error. Errors are the store's.
  static Result<Bases> load(nix::Daemon& store, std::span<const StorePath> tops, TimePoint deadline);

  // Null where nothing fits.
  const nix::PathInfo* find(const nix::PathInfo& path) const { return choice_->find(path); }

 private:
  explicit Bases(std::vector<nix::PathInfo> paths);

  // Behind pointers, so that moving this moves nothing that `choice_` points to.
  std::unique_ptr<const std::vector<nix::PathInfo>> paths_;
  std::unique_ptr<const delta::BaseChoice> choice_;
};

}  // namespace flurry::copy
