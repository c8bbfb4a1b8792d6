#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "agent/file_io.h"
#include "agent/file_lock.h"
#include "agent/log.h"
#include "agent/nixos_system.h"
#include "agent/profile.h"
#include "agent/run_switch.h"
#include "agent/switch_lock.h"
#include "agent/tools.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

constexpr Millis kJournalctlTimeout{5'000};
constexpr Millis kStartTimeout{65'000};  // somewhat more than start_unit() takes at most
constexpr int kJournalTries = 5;
constexpr int kJournalPauseMs = 100;

// Every unit that a deployment may run a switch in, by its direction; the names are the core's.
struct SwitchUnits {
  std::vector<std::string> forward;
  std::vector<std::string> back;
};

SwitchUnits switch_units(const ActivationSpec& spec) {
  const DeploymentId& id = spec.deployment;
  SwitchUnits out{
      {unit_name("switch", id), unit_name("boot", id)},
      {unit_name("unboot", id), unit_name("rollback", id) + "-1", unit_name("rollback", id) + "-2"}};
  for (size_t i = 0; i < spec.profiles.size(); ++i) {
    if (spec.profiles[i].is_system()) continue;
    const std::string number = "-" + std::to_string(i);
    for (const char* purpose : {"activate", "boot"}) out.forward.push_back(unit_name(purpose, id) + number);
    for (const char* attempt : {"-1", "-2"}) out.back.push_back(unit_name("restore", id) + number + attempt);
  }
  return out;
}

// One direction at a time, whatever a driver that died has left running: systemd stops what works in the
// other one first, and waits for its end.
void exclude_other_direction(TransientUnit& unit, const ActivationSpec& spec) {
  const SwitchUnits units = switch_units(spec);
  const bool is_back = std::find(units.back.begin(), units.back.end(), unit.name) != units.back.end();
  for (const auto& other : is_back ? units.forward : units.back) {
    unit.properties.push_back("Conflicts=" + other + ".service");
    unit.properties.push_back("After=" + other + ".service");
  }
}

const char* to_string(effect::SwitchAction action) {
  switch (action) {
    case effect::SwitchAction::kTest:
      return "test";
    case effect::SwitchAction::kBoot:
      return "boot";
    case effect::SwitchAction::kDryActivate:
      return "dry-activate";
    case effect::SwitchAction::kActivate:
      return "activate";
  }
  return "?";
}

}  // namespace

Result<void> NixosSystem::arm_deadman(const DeploymentId& id) const {
  const std::string name = unit_name("deadman", id);
  ASSIGN_OR_RETURN(const bool runs_already, is_unit_running(name + ".service"));
  if (runs_already) return {};
  RETURN_IF_ERROR(
      start_unit({.name = name,
                  .description = "flurry: brings the host back if deployment " + id.str() + " gets stuck",
                  .properties = {"Type=exec", "Restart=on-failure", "RestartSec=1", "StartLimitIntervalSec=0",
                                 "KillMode=mixed", "OOMScoreAdjust=-900"},
                  .environment = {std::string("PATH=") + kToolPath},
                  .argv = {program_, "deadman", id.str()}}));
  ASSIGN_OR_RETURN(const bool runs, is_unit_running(name + ".service"));
  if (!runs) return Error{ErrorKind::kFailed, name + " ended as soon as it was started"};
  return {};
}

Result<void> NixosSystem::disarm_deadman(const DeploymentId& id) const {
  // The deadman that drives a deployment to its end must not stop itself before it is through; it ends then.
  if (is_deadman_) return {};
  return stop_unit(unit_name("deadman", id) + ".service");
}

Result<SwitchExit> NixosSystem::run_switch(const effect::RunSwitch& what, const ActivationSpec& spec,
                                           std::stop_token stop) {
  ++starting_;
  const auto started = ensure_started(what, spec);
  --starting_;
  if (!started) return started.error();
  if (!*started) return SwitchExit{0, ""};
  ASSIGN_OR_RETURN(auto exit, wait_for_switch(paths_.status(what.unit), std::move(stop)));
  // What went well needs no explanation; a health check that fails later may still want a look.
  const bool went_well = exit.exit_code == 0 && what.action != effect::SwitchAction::kDryActivate;
  if (!went_well)
    exit.output = output_of(what.unit, kJournalTries);
  else if (what.action == effect::SwitchAction::kTest)
    exit.output = output_of(what.unit, 1);
  return exit;
}

// False where there is nothing to run.
Result<bool> NixosSystem::ensure_started(const effect::RunSwitch& what, const ActivationSpec& spec) {
  const ProfileSpec& profile = spec.profiles.at(what.profile);
  ActivationCommand command{{what.closure.str() + "/bin/switch-to-configuration", to_string(what.action)},
                            ""};
  if (!profile.is_system()) {
    ASSIGN_OR_RETURN(command, activation_command(paths_, profile, what.closure, what.action));
    if (command.argv.empty()) return false;
  }
  // A unit's name stands for one command of one deployment: one that runs is the one that is wanted.
  ASSIGN_OR_RETURN(const bool runs_already, FileLock::is_held(paths_.status(what.unit) + ".lock"));
  if (!what.attach && !runs_already) RETURN_IF_ERROR(start_switch(what, spec, command));
  return true;
}

Result<void> NixosSystem::start_switch(const effect::RunSwitch& what, const ActivationSpec& spec,
                                       const ActivationCommand& command) {
  RETURN_IF_ERROR(make_private_dir(paths_.run()));
  RETURN_IF_ERROR(make_private_dir(paths_.status_dir()));
  // The switch says it better where the lock can't be had.
  if (const auto guarded = guard_switch_lock(paths_.switch_lock()); !guarded)
    log_warning(guarded.error().message);
  const std::string status = paths_.status(what.unit);
  if (::unlink(status.c_str()) != 0 && errno != ENOENT) return sys::errno_error("remove " + status, errno);
  TransientUnit unit{
      .name = what.unit,
      .description = "flurry: " + std::string(to_string(what.action)) + " of profile " +
                     spec.profiles.at(what.profile).name,
      // Ready when the wrapper holds its lock. A stop reaches every process of the switch.
      .properties = {"Type=notify", "NotifyAccess=main", "StandardOutput=journal", "StandardError=journal",
                     "KillMode=control-group", "TimeoutStopSec=10", "TimeoutStartSec=50"},
      .environment = {std::string("PATH=") + kToolPath, "NIXOS_INSTALL_BOOTLOADER=0", "HOME=/root"},
      .argv = {program_, "run-switch", status, "--"}};
  unit.argv.insert(unit.argv.end(), command.argv.begin(), command.argv.end());
  if (!command.working_directory.empty())
    unit.properties.push_back("WorkingDirectory=-" + command.working_directory);
  if (const char* locale = ::getenv("LOCALE_ARCHIVE"))
    unit.environment.push_back(std::string("LOCALE_ARCHIVE=") + locale);
  exclude_other_direction(unit, spec);
  return start_unit(unit);
}

Result<void> NixosSystem::stop_switches(const ActivationSpec& spec) {
  // A start that systemd has not answered yet would come to life after the stop.
  for (const TimePoint until = sys::now() + kStartTimeout; starting_ > 0 && sys::now() < until;)
    ::poll(nullptr, 0, 20);
  std::optional<Error> failure;
  SwitchUnits units = switch_units(spec);
  units.forward.insert(units.forward.end(), units.back.begin(), units.back.end());
  for (const auto& unit : units.forward) {
    const std::string lock = paths_.status(unit) + ".lock";
    if (::access(lock.c_str(), F_OK) != 0) {
      // Never ran as far as the files tell; ask systemd only where they may not be complete.
      const auto runs = is_unit_running(unit + ".service");
      if (runs && !*runs) continue;
    }
    if (const auto stopped = stop_unit(unit + ".service"); !stopped) failure = stopped.error();
  }
  if (failure) return *failure;
  return {};
}

// journald takes lines in its own time: what a unit printed last may be there only a moment later.
std::string NixosSystem::output_of(const std::string& unit, int tries) const {
  std::string last;
  for (int i = 0; i < tries; ++i) {
    const auto result = run_tool({"journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=60",
                                  "_SYSTEMD_UNIT=" + unit + ".service"},
                                 kJournalctlTimeout);
    if (!result) return last;
    if (!last.empty() && result->standard_output == last) break;
    last = result->standard_output;
    if (i + 1 < tries) ::poll(nullptr, 0, kJournalPauseMs);
  }
  return last;
}

}  // namespace flurry::agent
