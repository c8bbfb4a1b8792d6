#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "agent/import_policy.h"
#include "agent/paths.h"
#include "core/nix/daemon.h"
#include "core/result.h"
#include "core/time.h"

namespace flurry::agent {

struct ImportOptions {
  std::string store_dir = "/nix/store";      // where free space is counted and what is synced
  std::string state_dir = "/nix/var/nix";    // gcroots/flurry is below it
  std::string run_dir = Paths{}.run();       // our user's and closed to others, or there are no lanes
  uint64_t space_margin_bytes = 128u << 20;  // must stay free: the profile, the switch, logs
  Millis idle_timeout{300'000};              // longest wait without progress
  std::string policy_file = kPolicyFile;
  NixSettings nix_settings = agent::nix_settings;
  Millis substituters_timeout{10'000};  // longest wait for what substituters say they have
  std::function<Result<nix::Daemon>(TimePoint)> connect = nix::Daemon::connect;
};

struct ImportStats {
  uint64_t paths = 0;  // that were received
  uint64_t bytes = 0;  // of their NARs
  uint64_t substituted_paths = 0;
  uint64_t substituted_bytes = 0;  // of their NARs
};

// The host's side of a copy (`flurry-agent import`): reads the copy protocol (core/transfer, copy.proto)
// from `in_fd`, gives each missing path to the Nix daemon as it comes, with memory for a few frames and no
// temporary files, and answers on `out_fd`. Where the controller wants it, the daemon meanwhile fetches what
// this host's substituters have; what they then can't give comes over the stream. On success the closure is
// valid, synced to disk and held by <state_dir>/gcroots/flurry/<deployment-id>-<hash>-incoming, which stays
// until somebody removes it. On an error the controller has been told, as far as it still listens; what was
// registered stays valid, what was not is never valid (files that Nix had unpacked of it it replaces at the
// next copy of that path, or removes with the garbage), and a second copy sends the rest. Does not own the
// descriptors. One thread.
Result<ImportStats> run_import(int in_fd, int out_fd, const ImportOptions& options = {});

}  // namespace flurry::agent
