#pragma once

#include <set>

#include "core/fleet.h"
#include "core/host_deployment.h"

namespace flurry::sim {

inline StorePath path_of(char c, const std::string& name = "system") {
  return *StorePath::parse("/nix/store/" + std::string(32, c) + "-" + name);
}

// What one controller sets out to do.
struct Plan {
  size_t number;  // of the deployment in its story
  std::vector<size_t> hosts;
  StorePath new_system;
  std::optional<StorePath> new_home;  // of a user's profile
  Goal goal = Goal::kSwitch;
  bool magic_rollback = true;
  bool auto_rollback = true;
  bool allow_no_rollback = false;
  size_t parallel = 1;

  DeploymentId id() const { return *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5F" + two_digits()); }
  std::string nonce(size_t host) const { return two_digits() + "-nonce-" + std::to_string(host); }

 private:
  std::string two_digits() const {
    return {static_cast<char>('0' + number / 10), static_cast<char>('0' + number % 10)};
  }
};

}  // namespace flurry::sim
