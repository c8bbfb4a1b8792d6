#pragma once

#include <string>

#include "core/names.h"

namespace flurry::agent {

// Where the agent keeps what it keeps. `root` stands before every path; it is empty but in tests.
struct Paths {
  std::string root;

  std::string run() const { return root + "/run/flurry"; }
  std::string socket() const { return run() + "/agent.sock"; }
  std::string build_file() const { return run() + "/agent.build"; }
  std::string executor_lock() const { return run() + "/executor.lock"; }
  std::string connect_lock() const { return run() + "/connect.lock"; }
  std::string status_dir() const { return run() + "/switch"; }
  std::string status(const std::string& unit) const { return status_dir() + "/" + unit; }
  std::string state() const { return root + "/var/lib/flurry"; }
  std::string journals() const { return state() + "/deployments"; }
  std::string unactivated() const { return state() + "/unactivated"; }
  std::string agents() const {
    return state() + "/agent";
  }  // a directory for each build, named by its SHA-256
  std::string switch_lock() const { return root + "/run/nixos/switch-to-configuration.lock"; }
  std::string switch_lists() const { return root + "/run/nixos"; }
  std::string gc_roots() const { return root + "/nix/var/nix/gcroots/flurry"; }
};

inline std::string unit_name(const char* purpose, const DeploymentId& id) {
  return std::string("flurry-") + purpose + "-" + id.str();
}

}  // namespace flurry::agent
