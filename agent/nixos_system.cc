#include "agent/nixos_system.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>

#include "agent/checks.h"
#include "agent/file_io.h"
#include "agent/housekeeping.h"
#include "agent/tools.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;

constexpr Millis kNixEnvTimeout{60'000};
constexpr Millis kSystemctlTimeout{20'000};

std::string root_link(const Paths& paths, const DeploymentId& id, const char* which) {
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

}  // namespace

Result<EffectValue> NixosSystem::perform(const effect::Any& what, const ActivationRecord& record,
                                         std::stop_token stop) {
  const ActivationSpec& spec = record.spec;
  if (std::holds_alternative<effect::ReadState>(what)) return value(read_state(spec.profile_path));
  if (std::holds_alternative<effect::HoldRoots>(what)) return no_value(hold_roots(record));
  if (std::holds_alternative<effect::ReleaseRoots>(what)) {
    release_roots(record);
    return EffectValue{};
  }
  if (std::holds_alternative<effect::ArmDeadman>(what)) return no_value(arm_deadman(spec.deployment));
  if (std::holds_alternative<effect::DisarmDeadman>(what)) return no_value(disarm_deadman(spec.deployment));
  if (const auto* run = std::get_if<effect::RunSwitch>(&what))
    return value(run_switch(*run, std::move(stop)));
  if (std::holds_alternative<effect::StopSwitch>(what)) return no_value(stop_switches(spec.deployment));
  if (const auto* check = std::get_if<effect::RunCheck>(&what))
    return EffectValue{run_check(spec.health.checks.at(check->index))};
  if (const auto* set = std::get_if<effect::SetProfile>(&what))
    return no_value(set_profile(spec.profile_path, set->path));
  if (const auto* restore = std::get_if<effect::RestoreProfile>(&what))
    return no_value(restore_profile(record, restore->generation));
  return Error{ErrorKind::kUnsupported, "not an effect of the system"};
}

Result<void> NixosSystem::admit(const ActivationSpec& spec) {
  const std::string path = paths_.root + spec.new_path.str();
  if (::access(path.c_str(), F_OK) != 0)
    return Error{ErrorKind::kInvalidInput, spec.new_path.str() + " is not on this host"};
  if (::access((path + "/bin/switch-to-configuration").c_str(), X_OK) != 0)
    return Error{ErrorKind::kInvalidInput,
                 spec.new_path.str() + " has no bin/switch-to-configuration: it is not a NixOS system"};
  if (spec.profile_name == "system" && ::access((path + "/nixos-version").c_str(), R_OK) != 0)
    return Error{ErrorKind::kInvalidInput,
                 spec.new_path.str() + " has no nixos-version: it is incomplete, or not a NixOS system"};
  const auto system = read_file(path + "/system", 256);
  if (system && *system != host_system() && *system != host_system() + "\n")
    return Error{ErrorKind::kInvalidInput,
                 spec.new_path.str() + " is built for another kind of machine than this " + host_system()};
  return {};
}

Result<HostFacts> NixosSystem::inspect(const std::string& profile_path, bool with_generations) {
  HostFacts out;
  ASSIGN_OR_RETURN(out.state, read_state(profile_path));
  out.system = host_system();
  out.unix_ms = sys::unix_ms();
  struct statvfs store {};
  if (::statvfs((paths_.root + "/nix/store").c_str(), &store) == 0)
    out.store_free_bytes = static_cast<uint64_t>(store.f_bavail) * store.f_frsize;
  if (with_generations) out.generations = list_generations(paths_.root, profile_path);
  const std::string booted_link = paths_.root + "/run/booted-system";
  if (const auto booted = store_path_of_link(booted_link)) out.booted = booted->str();
  out.reboot_needed = !out.booted.empty() && out.state.profile &&
                      is_reboot_needed(booted_link, paths_.root + out.state.profile->str());
  const auto running = run_tool({"systemctl", "is-system-running"}, kSystemctlTimeout);
  if (running) out.system_running = running->standard_output.substr(0, running->standard_output.find('\n'));
  return out;
}

CheckResult NixosSystem::run_check(const HealthCheck& check) { return run_check_once(check, program_); }

Result<SystemState> NixosSystem::read_state(const std::string& profile_path) const {
  SystemState out;
  out.running = store_path_of_link(paths_.root + "/run/current-system");
  auto profile = read_profile(paths_.root, profile_path);
  out.profile = std::move(profile.path);
  out.generation = profile.generation;
  ASSIGN_OR_RETURN(out.boot_id, read_boot_id());
  ASSIGN_OR_RETURN(out.failed_units, read_failed_units());
  return out;
}

Result<void> NixosSystem::hold_roots(const ActivationRecord& record) const {
  const std::string dir = paths_.gc_roots();
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return Error{ErrorKind::kFailed, "create " + dir + ": " + error.message()};
  const DeploymentId& id = record.spec.deployment;
  RETURN_IF_ERROR(replace_link(root_link(paths_, id, "new"), record.spec.new_path.str()));
  if (record.before.running)
    RETURN_IF_ERROR(replace_link(root_link(paths_, id, "before"), record.before.running->str()));
  return {};
}

void NixosSystem::release_roots(const ActivationRecord& record) const {
  for (const char* which : {"new", "before", "incoming"})
    ::unlink(root_link(paths_, record.spec.deployment, which).c_str());
  forget_stale_incoming(paths_, std::chrono::system_clock::now());
}

Result<void> NixosSystem::set_profile(const std::string& profile, const StorePath& path) const {
  if (read_profile(paths_.root, profile).path == path) return {};
  std::error_code error;
  fs::create_directories(fs::path(paths_.root + profile).parent_path(), error);
  if (error) return Error{ErrorKind::kFailed, "create the directory of " + profile + ": " + error.message()};
  RETURN_IF_ERROR(
      run_tool_checked({"nix-env", "-p", paths_.root + profile, "--set", path.str()}, kNixEnvTimeout));
  return {};
}

Result<void> NixosSystem::restore_profile(const ActivationRecord& record,
                                          std::optional<uint64_t> generation) const {
  const std::string& profile = record.spec.profile_path;
  if (generation) {
    if (read_profile(paths_.root, profile).generation == generation) return {};
    RETURN_IF_ERROR(run_tool_checked(
        {"nix-env", "-p", paths_.root + profile, "--switch-generation", std::to_string(*generation)},
        kNixEnvTimeout));
    return {};
  }
  // A link that named its closure without generations, or none at all: as it was, and none of ours.
  const std::string link = paths_.root + profile;
  if (record.before.profile) return replace_link(link, record.before.profile->str());
  const fs::path dir = fs::path(link).parent_path();
  for (const auto& made : list_generations(paths_.root, profile))
    if (made.path == record.spec.new_path.str())
      ::unlink(
          (dir / (fs::path(link).filename().string() + "-" + std::to_string(made.number) + "-link")).c_str());
  if (::unlink(link.c_str()) != 0 && errno != ENOENT) return sys::errno_error("remove " + link, errno);
  return {};
}

}  // namespace flurry::agent
