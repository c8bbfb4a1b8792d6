#pragma once

#include <atomic>
#include <set>
#include <string>

#include "agent/paths.h"
#include "agent/profile.h"
#include "agent/system.h"

namespace flurry::agent {

// A NixOS host under systemd. Needs root.
class NixosSystem : public System {
 public:
  // `program` is the flurry-agent whose verbs run in units and probes: a path that stays.
  NixosSystem(Paths paths, std::string program, bool is_deadman = false)
      : paths_(std::move(paths)), program_(std::move(program)), is_deadman_(is_deadman) {}

  Result<EffectValue> perform(const effect::Any& what, const ActivationRecord& record,
                              std::stop_token stop) override;
  Result<ActivationSpec> admit(ActivationSpec spec) override;
  Result<HostFacts> inspect(const std::vector<ProfileRef>& user_profiles, bool with_generations) override;
  CheckResult run_check(const HealthCheck& check, std::stop_token stop) override;

 private:
  // In nixos_system.cc.
  Result<void> admit_system(ProfileSpec& profile) const;
  Result<void> admit_user_profile(ProfileSpec& profile) const;
  template <typename Profiles>
  Result<SystemState> read_system(const Profiles& profiles) const;
  Result<SystemState> read_state(const effect::ReadState& what, const ActivationRecord& record) const;
  Result<SwitchExit> run_noted(const effect::RunSwitch& what, const ActivationRecord& record,
                               std::stop_token stop);
  Result<void> restore(const effect::RestoreProfile& what, const ActivationRecord& record) const;
  Result<void> hold_roots(const ActivationRecord& record) const;
  void release_roots(const ActivationRecord& record) const;

  // In nixos_units.cc.
  std::string program() const;
  std::string targets_file(const DeploymentId& id) const;
  Result<void> arm_deadman(const DeploymentId& id) const;
  Result<void> disarm_deadman(const DeploymentId& id) const;
  Result<SwitchExit> run_switch(const effect::RunSwitch& what, const ActivationSpec& spec,
                                std::stop_token stop);
  Result<bool> ensure_started(const effect::RunSwitch& what, const ActivationSpec& spec);
  Result<void> start_switch(const effect::RunSwitch& what, const ActivationSpec& spec,
                            const ActivationCommand& command, bool is_back);
  Result<SwitchExit> stop_switches(const effect::StopSwitch& what, const ActivationSpec& spec);
  Result<void> start_units(const std::vector<std::string>& units) const;
  std::string output_of(const std::string& unit, int tries) const;

  const Paths paths_;
  const std::string program_;
  const bool is_deadman_;
  std::atomic<int> starting_{0};  // switches that are wanted, and that systemd has not started yet
};

// In nixos_facts.cc; each reads the host and changes nothing.

// The store path behind a link of one step ("/run/current-system").
std::optional<StorePath> store_path_of_link(const std::string& link);

// Number and path of a profile's present generation; nothing where there is no such profile.
ProfileState read_profile(const std::string& root, const std::string& profile_path);

// The system that a closure is a wrapper around; nothing where it is one itself.
std::optional<StorePath> wrapped_system(const std::string& root, const StorePath& closure);

// Where a path below `root` leads in the end, without the root; nothing where it leads nowhere.
std::optional<std::string> real_path(const std::string& root, const std::string& link);

// The lists with something in them that a broken-off switch has left for the next one, by name.
std::vector<std::string> read_leftovers(const Paths& paths);
// Keeps of them the restarts and reloads of units in `active`. A list that can't be read stays.
Result<void> clear_leftovers(const Paths& paths, const std::set<std::string>& active);

// Whether somebody holds the lock of switch-to-configuration; disturbs nobody.
bool is_switch_locked(const Paths& paths);

// The kernel's boot id, and after a soft reboot "+" with their number.
Result<std::string> read_boot_id();

// Whether the clocks of two boots are one: only soft reboots lie between them.
bool is_same_kernel(const std::string& a, const std::string& b);

// "x86_64-linux"
std::string host_system();

std::vector<Generation> list_generations(const std::string& root, const std::string& profile_path);

bool is_reboot_needed(const std::string& booted, const std::string& boot_default);

}  // namespace flurry::agent
