#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "agent/file_io.h"
#include "agent/file_lock.h"
#include "agent/host_mode.h"
#include "agent/log.h"
#include "agent/nixos_system.h"
#include "agent/profile.h"
#include "agent/run_switch.h"
#include "agent/switch_lock.h"
#include "agent/switch_program.h"
#include "agent/tools.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

constexpr Millis kJournalctlTimeout{5'000};
constexpr Millis kKillTimeout{10'000};
constexpr Millis kDeadmanLeaves{2'000};
constexpr Millis kStopPatience{5'000};
constexpr Millis kStartTimeout{65'000};  // somewhat more than start_unit() takes at most
constexpr int kJournalTries = 5;
// All that a switch prints about itself, with the status of each failed unit.
constexpr const char* kJournalLines = "--lines=4000";
constexpr int kJournalPauseMs = 100;
constexpr int kUnitsFailed = 4;  // of switch-to-configuration

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

bool is_one_of(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Those of the deployment's units that run.
Result<std::vector<std::string>> running_of(const std::vector<std::string>& units, const DeploymentId& id) {
  ASSIGN_OR_RETURN(const auto running, running_units("flurry-*-" + id.str() + "*.service"));
  std::vector<std::string> out;
  for (const auto& unit : units)
    if (is_one_of(running, unit + ".service")) out.push_back(unit + ".service");
  return out;
}

// What neither emergency mode nor an isolate stops. Emergency mode takes away all that needs sysinit.target,
// as a service does by default; an isolate takes away what its target doesn't need.
const std::vector<std::string> kStaysInEveryMode = {"DefaultDependencies=no", "IgnoreOnIsolate=yes"};

void add(std::vector<std::string>& properties, const std::vector<std::string>& more) {
  properties.insert(properties.end(), more.begin(), more.end());
}

// Whether a deadman's unit has a process that watches this deployment and can act.
Result<bool> is_on_watch(const std::string& unit, const DeploymentId& id) {
  ASSIGN_OR_RETURN(const bool runs, is_unit_running(unit));
  if (!runs) return false;
  ASSIGN_OR_RETURN(auto properties, unit_properties(unit, {"ActiveState", "MainPID", "FreezerState"}));
  if (properties["ActiveState"] != "active") return false;
  if (const auto& freezer = properties["FreezerState"]; !freezer.empty() && freezer != "running")
    return false;
  const std::string process = "/proc/" + properties["MainPID"];
  const auto words = read_file(process + "/cmdline", 4096);
  const auto status = read_file(process + "/stat", 4096);
  if (!words || !status) return false;
  const std::string wanted = std::string("deadman") + '\0' + id.str() + '\0';
  const size_t name_end = status->rfind(") ");
  // Stopped, traced, or dead and not waited for.
  const bool can_run = name_end != std::string::npos && name_end + 2 < status->size() &&
                       std::string_view("TtZX").find((*status)[name_end + 2]) == std::string_view::npos;
  return words->ends_with(wanted) && can_run;
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

// A deadman starts its switches also where the file system with the agent's program is gone, or lies below
// another one: the kernel keeps the program for it.
std::string NixosSystem::program() const {
  struct stat named {};
  struct stat own {};
  const bool is_there = ::stat(program_.c_str(), &named) == 0 && ::stat("/proc/self/exe", &own) == 0 &&
                        named.st_dev == own.st_dev && named.st_ino == own.st_ino;
  return is_there || !is_deadman_ ? program_ : "/proc/" + std::to_string(::getpid()) + "/exe";
}

std::string NixosSystem::targets_file(const DeploymentId& id) const {
  return paths_.run() + "/targets-" + id.str();
}

Result<void> NixosSystem::arm_deadman(const DeploymentId& id) const {
  const std::string name = unit_name("deadman", id);
  const std::string service = name + ".service";
  RETURN_IF_ERROR(make_private_dir(paths_.run()));
  if (const auto remembered = remember_targets(targets_file(id)); !remembered)
    log_warning("remember the active targets: " + remembered.error().message);
  ASSIGN_OR_RETURN(const bool is_armed, is_on_watch(service, id));
  if (is_armed) return {};
  ASSIGN_OR_RETURN(const bool is_useless, is_unit_running(service));
  if (is_useless) {
    log_warning(service + " runs and can't act: it is replaced");
    [[maybe_unused]] const auto killed =
        run_tool({"systemctl", "kill", "--signal=KILL", "--", service}, kKillTimeout);
    RETURN_IF_ERROR(stop_unit(service));
  }
  TransientUnit unit{.name = name,
                     .description = "flurry: brings the host back if deployment " + id.str() + " gets stuck",
                     // Ready when it watches. It goes only where the kernel goes.
                     .properties = {"Type=notify", "NotifyAccess=main", "Restart=on-failure", "RestartSec=1",
                                    "StartLimitIntervalSec=0", "TimeoutStartSec=20", "TimeoutStopSec=5",
                                    "KillMode=mixed", "OOMScoreAdjust=-900"},
                     .where_known = {"SurviveFinalKillSignal=yes"},
                     .environment = {std::string("PATH=") + kToolPath},
                     .argv = {program(), "deadman", id.str()}};
  add(unit.properties, kStaysInEveryMode);
  for (const char* end : {"reboot.target", "poweroff.target", "halt.target", "kexec.target"})
    add(unit.properties, {std::string("Conflicts=") + end, std::string("Before=") + end});
  RETURN_IF_ERROR(start_unit(unit));
  ASSIGN_OR_RETURN(const bool watches, is_on_watch(service, id));
  if (!watches) return Error{ErrorKind::kFailed, name + " ended as soon as it was started"};
  return {};
}

Result<void> NixosSystem::disarm_deadman(const DeploymentId& id) const {
  ::unlink(targets_file(id).c_str());
  // The deadman that drives a deployment to its end must not stop itself before it is through; it ends then.
  if (is_deadman_) return {};
  const std::string service = unit_name("deadman", id) + ".service";
  // It reads that all is over, and leaves.
  ASSIGN_OR_RETURN(const bool has_left, wait_for_end(service, kDeadmanLeaves));
  if (has_left) return {};
  return stop_unit(service);
}

Result<SwitchExit> NixosSystem::run_switch(const effect::RunSwitch& what, const ActivationSpec& spec,
                                           std::stop_token stop) {
  ++starting_;
  const auto started = ensure_started(what, spec);
  --starting_;
  if (!started) return started.error();
  if (!*started) return SwitchExit{0, ""};
  ASSIGN_OR_RETURN(auto exit, wait_for_switch(paths_.status(what.unit), stop));
  const bool is_back = is_one_of(switch_units(spec).back, what.unit);
  if (is_back && what.action == effect::SwitchAction::kTest) {
    const auto restored = start_lost_targets(targets_file(spec.deployment), stop);
    if (!restored) log_warning("start the targets that were active before: " + restored.error().message);
  }
  // What went well needs no explanation; a health check that fails later may still want a look.
  const bool went_well = exit.exit_code == 0 && what.action != effect::SwitchAction::kDryActivate;
  if (exit.exit_code == kUnitsFailed)
    exit.tells_failed_activation = tells_failed_activation(paths_.root, what.closure);
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
  const bool is_back = is_one_of(switch_units(spec).back, what.unit);
  if (!what.attach && !runs_already) RETURN_IF_ERROR(start_switch(what, spec, command, is_back));
  return true;
}

Result<void> NixosSystem::start_switch(const effect::RunSwitch& what, const ActivationSpec& spec,
                                       const ActivationCommand& command, bool is_back) {
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
                     "KillMode=control-group", "TimeoutStopSec=10", "TimeoutStartSec=50",
                     // What it says is looked at: journald must drop none of it.
                     "LogRateLimitIntervalSec=0"},
      .environment = {std::string("PATH=") + kToolPath, "NIXOS_INSTALL_BOOTLOADER=0", "HOME=/root"},
      .argv = {program(), "run-switch", status, "--"}};
  unit.argv.insert(unit.argv.end(), command.argv.begin(), command.argv.end());
  if (!command.working_directory.empty())
    unit.properties.push_back("WorkingDirectory=-" + command.working_directory);
  if (const char* locale = ::getenv("LOCALE_ARCHIVE"))
    unit.environment.push_back(std::string("LOCALE_ARCHIVE=") + locale);
  if (is_back) {
    add(unit.properties, kStaysInEveryMode);
    add(unit.properties, {"Conflicts=shutdown.target", "Before=shutdown.target"});
    start_bus_if_gone();
    // The old system's check was of another day; it must not keep the host on what nobody confirmed.
    unit.environment.emplace_back("NIXOS_NO_CHECK=1");
  }
  // One direction at a time, whatever a driver that died has left running: systemd stops what works in the
  // other one first, and waits for its end.
  const SwitchUnits units = switch_units(spec);
  const auto& others = is_back ? units.forward : units.back;
  ASSIGN_OR_RETURN(const auto in_the_way, running_of(others, spec.deployment));
  for (const auto& other : in_the_way) add(unit.properties, {"Conflicts=" + other, "After=" + other});
  RETURN_IF_ERROR(start_unit(unit));
  // A start that was under way when its driver died comes to life only now.
  ASSIGN_OR_RETURN(const auto late, running_of(others, spec.deployment));
  for (const auto& other : late) RETURN_IF_ERROR(end_unit(other, kStopPatience));
  return {};
}

Result<SwitchExit> NixosSystem::stop_switches(const effect::StopSwitch& what, const ActivationSpec& spec) {
  // A start that systemd has not answered yet would come to life after the stop.
  for (const TimePoint until = sys::now() + kStartTimeout; starting_ > 0 && sys::now() < until;)
    ::poll(nullptr, 0, 20);
  std::optional<Error> failure;
  SwitchUnits units = switch_units(spec);
  add(units.forward, units.back);
  ASSIGN_OR_RETURN(const auto running, running_of(units.forward, spec.deployment));
  for (const auto& unit : running)
    if (const auto stopped = end_unit(unit, kStopPatience); !stopped) failure = stopped.error();
  if (failure) return *failure;
  if (what.unit.empty()) return SwitchExit{};
  // Of what never ran in this boot the journal may still tell, and it would be of another one.
  SwitchExit out;
  out.has_run = ::access((paths_.status(what.unit) + ".lock").c_str(), F_OK) == 0;
  if (out.has_run) out.output = output_of(what.unit, kJournalTries);
  return out;
}

// Sockets first: one whose service runs already can't be started, so that is stopped meanwhile.
Result<void> NixosSystem::start_units(const std::vector<std::string>& units) const {
  const auto systemctl = [](std::vector<std::string> argv, const std::vector<std::string>& names) {
    argv.insert(argv.begin(), {"systemctl", "--no-ask-password"});
    argv.emplace_back("--");
    argv.insert(argv.end(), names.begin(), names.end());
    return run_tool_checked(std::move(argv), kStartTimeout);
  };
  std::vector<std::string> sockets;
  std::vector<std::string> others;
  for (const auto& unit : units) (unit.ends_with(".socket") ? sockets : others).push_back(unit);
  for (const auto& socket : sockets) {
    auto triggered = unit_properties(socket, {"Triggers"});
    const std::string service = triggered ? (*triggered)["Triggers"] : "";
    const auto runs = service.empty() ? Result<bool>(false) : is_unit_running(service);
    if (!runs || !*runs || service.find(' ') != std::string::npos) continue;
    if (const auto stopped = systemctl({"stop"}, {service}); !stopped) log_warning(stopped.error().message);
    others.push_back(service);
  }
  if (!sockets.empty())
    if (const auto started = systemctl({"start"}, sockets); !started) log_warning(started.error().message);
  if (others.empty()) return {};
  RETURN_IF_ERROR(systemctl({"start", "--no-block"}, others));
  return {};
}

// journald takes lines in its own time: what a unit printed last may be there only a moment later.
std::string NixosSystem::output_of(const std::string& unit, int tries) const {
  std::string last;
  for (int i = 0; i < tries; ++i) {
    const auto result = run_tool({"journalctl", "--no-pager", "--quiet", "--output=cat", kJournalLines,
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
