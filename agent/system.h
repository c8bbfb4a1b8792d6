#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "core/activation.h"

namespace flurry::agent {

struct Generation {
  uint64_t number = 0;
  std::string path;
  long long created_unix_ms = 0;
  std::string profile = {};  // of a user; empty: the system's
};

// What a host says of itself, for preflight and `flurry status`.
struct HostFacts {
  SystemState state;
  std::optional<StorePath> wrapped;  // the system in what the system profile names, where that is a wrapper
  std::string system;                // "x86_64-linux"
  long long unix_ms = 0;
  uint64_t store_free_bytes = 0;
  std::vector<Generation> generations;  // of each profile, oldest first
  std::string booted;                   // empty: unknown
  bool reboot_needed = false;
  std::string system_running;                   // "degraded"
  std::string half_switched;                    // why it is between two systems; empty: it isn't
  std::vector<std::string> unknown_users = {};  // of profiles that were asked about
};

// The host, as far as the agent touches it. Any thread may call any method; calls overlap. Each call
// ends within a bound of its own; only a switch takes as long as it takes.
class System {
 public:
  virtual ~System() = default;

  // Does one effect of the deployment in `record`, which is as it stood when the effect was asked for.
  // Never a WriteJournal. When `stop` is asked for, a wait for a switch is given up (the switch goes on).
  virtual Result<EffectValue> perform(const effect::Any& what, const ActivationRecord& record,
                                      std::stop_token stop) = 0;

  // The spec with what only this host knows filled in, or why the host can't do it; touches nothing.
  virtual Result<ActivationSpec> admit(ActivationSpec spec) = 0;

  virtual Result<HostFacts> inspect(const std::vector<ProfileRef>& user_profiles, bool with_generations) = 0;

  // One try of one check; a stop ends it early.
  virtual CheckResult run_check(const HealthCheck& check, std::stop_token stop) = 0;
};

}  // namespace flurry::agent
