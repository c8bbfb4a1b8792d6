#include "agent/nixos_system.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "agent/activation_script.h"
#include "agent/boot_default.h"
#include "agent/checks.h"
#include "agent/file_io.h"
#include "agent/host_mode.h"
#include "agent/housekeeping.h"
#include "agent/log.h"
#include "agent/profile.h"
#include "agent/tools.h"
#include "agent/unit_facts.h"
#include "core/switch_verdict.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSystemProfileLink = "/nix/var/nix/profiles/system";
constexpr Millis kSystemctlTimeout{20'000};
constexpr size_t kUserGenerationsMax = 1000;
constexpr size_t kScriptMax = 64 << 10;

std::string root_link(const Paths& paths, const DeploymentId& id, const std::string& which) {
  return paths.gc_roots() + "/" + id.str() + "-" + which;
}

Result<EffectValue> no_value(Result<void> result) {
  if (!result) return result.error();
  return EffectValue{};
}

template <typename T>
Result<EffectValue> value(Result<T> result) {
  if (!result) return result.error();
  return EffectValue{*std::move(result)};
}

// The system's, then each profile's; a user may make links that are no generations at all.
std::vector<Generation> generations_of(const Paths& paths, const std::vector<ProfileRef>& profiles) {
  auto out = list_generations(paths.root, kSystemProfileLink);
  for (const auto& profile : profiles) {
    auto found = list_generations(paths.root, profile.path);
    const size_t begin = found.size() - std::min(found.size(), kUserGenerationsMax);
    for (size_t i = begin; i < found.size(); ++i) {
      if (!StorePath::parse(found[i].path)) continue;
      out.push_back(std::move(found[i]));
      out.back().profile = profile.name;
    }
  }
  return out;
}

// A system is switched by its own program, tested before it is committed. What a deploy-rs script does
// besides would never run.
Result<void> refuse_own_script(const std::string& file, const std::string& name) {
  std::error_code error;
  const fs::path real = fs::canonical(file, error);
  if (error == std::errc::no_such_file_or_directory) return {};
  const auto script = error ? Result<std::string>(sys::errno_error("open " + file, error.value()))
                            : read_file(real.string(), kScriptMax);
  if (script && only_switches(*script)) return {};
  return Error{ErrorKind::kUnsupported,
               name +
                   " brings an activation script of its own (deploy-rs-activate does more than "
                   "switch-to-configuration), which flurry would not run: move those steps into the NixOS "
                   "configuration (a systemd unit, system.activationScripts) and use activate.nixos, or "
                   "give the profile another name than \"system\", then the script is run"};
}

}  // namespace

Result<EffectValue> NixosSystem::perform(const effect::Any& what, const ActivationRecord& record,
                                         std::stop_token stop) {
  const ActivationSpec& spec = record.spec;
  // A deadman outlives a soft reboot, in the middle of which nothing can be started and much has just ended.
  if (is_deadman_) wait_while_stopping(stop);
  if (std::holds_alternative<effect::ReadState>(what))
    return value(read_state(std::get<effect::ReadState>(what), record));
  if (std::holds_alternative<effect::HoldRoots>(what)) return no_value(hold_roots(record));
  if (std::holds_alternative<effect::ReleaseRoots>(what)) {
    release_roots(record);
    return EffectValue{};
  }
  if (std::holds_alternative<effect::ArmDeadman>(what)) return no_value(arm_deadman(spec.deployment));
  if (std::holds_alternative<effect::DisarmDeadman>(what)) return no_value(disarm_deadman(spec.deployment));
  if (const auto* run = std::get_if<effect::RunSwitch>(&what))
    return value(run_noted(*run, record, std::move(stop)));
  if (const auto* stopped = std::get_if<effect::StopSwitch>(&what))
    return value(stop_switches(*stopped, spec));
  if (const auto* start = std::get_if<effect::StartUnits>(&what)) return no_value(start_units(start->units));
  if (std::holds_alternative<effect::ClearLeftovers>(what)) {
    ASSIGN_OR_RETURN(const auto active, read_active_units());
    return no_value(clear_leftovers(paths_, active));
  }
  if (const auto* check = std::get_if<effect::RunCheck>(&what))
    return EffectValue{run_check(spec.health.checks.at(check->index), std::move(stop))};
  if (const auto* set = std::get_if<effect::SetProfile>(&what))
    return no_value(set_profile(paths_, spec.profiles.at(set->profile), set->path));
  if (const auto* restore = std::get_if<effect::RestoreProfile>(&what))
    return no_value(this->restore(*restore, record));
  return Error{ErrorKind::kUnsupported, "not an effect of the system"};
}

// A user profile's activation that ended well is remembered, a failed one as well: the link says neither.
Result<SwitchExit> NixosSystem::run_noted(const effect::RunSwitch& what, const ActivationRecord& record,
                                          std::stop_token stop) {
  auto exit = run_switch(what, record.spec, std::move(stop));
  const bool is_well = exit && exit->exit_code == 0;
  if (!is_well || what.action != effect::SwitchAction::kActivate) return exit;
  const ProfileSpec& profile = record.spec.profiles.at(what.profile);
  note_activated(paths_, profile);
  // What its link names is looked at before anything is committed or called undone.
  const auto settled = settle_profile(paths_, profile, what.closure, record.started_unix_ms);
  if (!settled) log_warning("profile " + profile.name + ": " + settled.error().message);
  return exit;
}

// Going back must not depend on a disk that has room, so a note that can't be written stops nothing.
Result<void> NixosSystem::restore(const effect::RestoreProfile& what, const ActivationRecord& record) const {
  const ProfileSpec& profile = record.spec.profiles.at(what.profile);
  const ProfileState before = profile_state(record.before, profile);
  const bool is_activated_again = record.spec.goal != Goal::kBoot;
  if (!profile.is_system() && before.path) {
    if (is_activated_again || !before.is_activated) [[maybe_unused]]
      const auto noted = note_unactivated(paths_, profile, *before.path);
    else
      note_activated(paths_, profile);
  }
  return restore_profile(paths_, profile, before, profile.new_path, record.started_unix_ms);
}

Result<ActivationSpec> NixosSystem::admit(ActivationSpec spec) {
  for (auto& profile : spec.profiles) {
    if (::access((paths_.root + profile.new_path.str()).c_str(), F_OK) != 0)
      return Error{ErrorKind::kInvalidInput, profile.new_path.str() + " is not on this host"};
    const auto admitted = profile.is_system() ? admit_system(profile) : admit_user_profile(profile);
    if (!admitted && profile.is_system()) return admitted.error();
    if (!admitted) return admitted.error().with_context("profile " + profile.name);
  }
  return spec;
}

Result<void> NixosSystem::admit_system(ProfileSpec& profile) const {
  const std::string path = paths_.root + profile.new_path.str();
  const std::string& name = profile.new_path.str();
  if (::access((path + "/bin/switch-to-configuration").c_str(), X_OK) != 0)
    return Error{ErrorKind::kInvalidInput,
                 name + " has no bin/switch-to-configuration: it is not a NixOS system"};
  if (::access((path + "/nixos-version").c_str(), R_OK) != 0)
    return Error{ErrorKind::kInvalidInput,
                 name + " has no nixos-version: it is incomplete, or not a NixOS system"};
  const auto system = read_file(path + "/system", 256);
  if (system && *system != host_system() && *system != host_system() + "\n")
    return Error{ErrorKind::kInvalidInput,
                 name + " is built for another kind of machine than this " + host_system()};
  RETURN_IF_ERROR(refuse_own_script(path + "/deploy-rs-activate", name));
  profile.wrapped = wrapped_system(paths_.root, profile.new_path);
  profile.etc = real_path(paths_.root, profile.runs_as().str() + "/etc");
  return {};
}

Result<void> NixosSystem::admit_user_profile(ProfileSpec& profile) const {
  ASSIGN_OR_RETURN(const Account account, find_account(profile.user));
  if (profile.path.empty()) profile.path = default_profile_path(paths_, account, profile.name);
  profile.has_activation = activation_kind(paths_, profile.new_path) != ActivationKind::kNone;
  if (profile.needs_activation && !profile.has_activation)
    return Error{
        ErrorKind::kInvalidInput,
        profile.new_path.str() +
            " brings nothing to activate (neither deploy-rs-activate nor activate): wrap the path in "
            "one of deploy-rs's lib.SYSTEM.activate.*, in activate.noop where nothing shall run"};
  return {};
}

Result<HostFacts> NixosSystem::inspect(const std::vector<ProfileRef>& user_profiles, bool with_generations) {
  HostFacts out;
  std::vector<ProfileRef> profiles;
  for (const auto& profile : user_profiles) {
    const auto account = find_account(profile.user);
    if (!account) {  // without its user there is no such profile
      out.unknown_users.push_back(profile.user);
      continue;
    }
    profiles.push_back(profile);
    if (profile.path.empty()) profiles.back().path = default_profile_path(paths_, *account, profile.name);
  }
  ASSIGN_OR_RETURN(out.state, read_system(profiles));
  ASSIGN_OR_RETURN(out.state.failed_units, read_failed_units());
  if (out.state.running)
    out.half_switched = half_switched(out.state, real_path(paths_.root, out.state.running->str() + "/etc"));
  out.system = host_system();
  out.unix_ms = sys::unix_ms();
  struct statvfs store {};
  if (::statvfs((paths_.root + "/nix/store").c_str(), &store) == 0)
    out.store_free_bytes = static_cast<uint64_t>(store.f_bavail) * store.f_frsize;
  if (with_generations) out.generations = generations_of(paths_, profiles);
  if (out.state.profile) out.wrapped = wrapped_system(paths_.root, *out.state.profile);
  const std::string booted_link = paths_.root + "/run/booted-system";
  if (const auto booted = store_path_of_link(booted_link)) out.booted = booted->str();
  out.reboot_needed = !out.booted.empty() && out.state.profile &&
                      is_reboot_needed(booted_link, paths_.root + out.state.profile->str());
  const auto running = run_tool({"systemctl", "is-system-running"}, kSystemctlTimeout);
  if (running) out.system_running = running->standard_output.substr(0, running->standard_output.find('\n'));
  return out;
}

CheckResult NixosSystem::run_check(const HealthCheck& check, std::stop_token stop) {
  return run_check_once(check, program_, std::move(stop));
}

template <typename Profiles>
Result<SystemState> NixosSystem::read_system(const Profiles& profiles) const {
  SystemState out;
  out.running = store_path_of_link(paths_.root + "/run/current-system");
  auto system = read_profile(paths_.root, kSystemProfileLink);
  out.profile = std::move(system.path);
  out.generation = system.generation;
  for (const auto& profile : profiles)
    if (!profile.is_system()) {
      ProfileState& state = out.user_profiles[profile.name] = read_profile(paths_.root, profile.path);
      state.is_activated = is_activated(paths_, profile, state);
    }
  ASSIGN_OR_RETURN(out.boot_id, read_boot_id());
  out.etc = real_path(paths_.root, "/etc/static");
  out.boot_default = read_boot_default(paths_.root);
  out.leftovers = read_leftovers(paths_);
  out.is_switch_locked = is_switch_locked(paths_);
  return out;
}

Result<SystemState> NixosSystem::read_state(const effect::ReadState& what,
                                            const ActivationRecord& record) const {
  ASSIGN_OR_RETURN(SystemState out, read_system(record.spec.profiles));
  const auto units_of = [this](const std::optional<StorePath>& system) {
    return system ? paths_.root + system->str() + "/etc/systemd/system" : std::string();
  };
  UnitQuestion question{.is_baseline = what.is_baseline,
                        .recorded = record.before.steady_units,
                        .recorded_unix_ms = record.started_unix_ms,
                        .units = what.units,
                        .old_units = units_of(record.before.running)};
  for (const auto& profile : record.spec.profiles)
    if (profile.is_system()) question.new_units = units_of(profile.runs_as());
  RETURN_IF_ERROR(read_units(question, out));
  return out;
}

Result<void> NixosSystem::hold_roots(const ActivationRecord& record) const {
  const std::string dir = paths_.gc_roots();
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return sys::errno_error("create " + dir, error.value());
  const DeploymentId& id = record.spec.deployment;
  const auto hold = [&](const std::string& which, const std::optional<StorePath>& path) -> Result<void> {
    if (!path) return {};
    return replace_link(root_link(paths_, id, which), path->str());
  };
  RETURN_IF_ERROR(hold("before", record.before.running));
  RETURN_IF_ERROR(hold("boot", record.before.boot_default));
  for (const auto& profile : record.spec.profiles) {
    // A system's names are those that people look for; its profile may name another than runs.
    const std::string of = profile.is_system() ? "" : "-" + profile.name;
    RETURN_IF_ERROR(hold("new" + of, profile.new_path));
    RETURN_IF_ERROR(hold("profile" + of, profile_state(record.before, profile).path));
  }
  return {};
}

void NixosSystem::release_roots(const ActivationRecord& record) const {
  const std::string prefix = record.spec.deployment.str() + "-";
  std::error_code error;
  std::vector<fs::path> ours;
  for (fs::directory_iterator it(paths_.gc_roots(), error), end; !error && it != end; it.increment(error))
    if (it->path().filename().string().starts_with(prefix)) ours.push_back(it->path());
  for (const auto& link : ours) ::unlink(link.c_str());
  forget_stale_incoming(paths_, std::chrono::system_clock::now());
}

}  // namespace flurry::agent
