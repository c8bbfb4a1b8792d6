#include "agent/host_mode.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <utility>
#include <vector>

#include "agent/file_io.h"
#include "agent/log.h"
#include "agent/tools.h"
#include "agent/unit_list.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

constexpr Millis kSystemctlTimeout{20'000};
// A host that comes out of emergency mode starts all that a boot starts; what takes longer goes on by itself.
constexpr Millis kTargetsTimeout{30'000};
constexpr Millis kStoppingMax{240'000};  // less than an effect may take
constexpr int kPauseMs = 500;
constexpr size_t kTargetsMax = 64 << 10;
// Both wait for a human, and a start of one ends what the start of the others has begun.
constexpr const char* kEmergency = "emergency.target";
constexpr const char* kRescue = "rescue.target";

Result<std::vector<std::string>> active_targets() {
  ASSIGN_OR_RETURN(const auto text,
                   run_tool_checked({"systemctl", "list-units", "--type=target", "--state=active", "--plain",
                                     "--no-legend", "--no-pager", "--full"},
                                    kSystemctlTimeout));
  std::vector<std::string> out;
  for (auto& unit : parse_unit_list(text)) out.push_back(std::move(unit.name));
  return out;
}

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (!line.empty()) out.push_back(line);
  return out;
}

}  // namespace

Result<ManagerState> read_manager_state() {
  // Its exit status only repeats what it prints.
  ASSIGN_OR_RETURN(const auto result, run_tool({"systemctl", "is-system-running"}, kSystemctlTimeout));
  const std::string& state = result.standard_output;
  if (state.starts_with("stopping")) return ManagerState::kStopping;
  if (state.starts_with("starting") || state.starts_with("initializing")) return ManagerState::kStarting;
  for (const char* up : {"running", "degraded", "maintenance"})
    if (state.starts_with(up)) return ManagerState::kUp;
  return Error{ErrorKind::kFailed, "systemd does not answer (" + sys::describe_exit(result) + "): " + state +
                                       result.standard_error};
}

void wait_while_stopping(const std::stop_token& stop) {
  for (const TimePoint until = sys::now() + kStoppingMax; sys::now() < until && !stop.stop_requested();
       ::poll(nullptr, 0, kPauseMs)) {
    const auto state = read_manager_state();
    // PID 1 does not answer while it is replaced by itself.
    if (state && *state != ManagerState::kStopping) return;
    if (!state) log_warning(state.error().message);
  }
}

Result<void> remember_targets(const std::string& file) {
  if (::access(file.c_str(), F_OK) == 0) return {};
  ASSIGN_OR_RETURN(const auto targets, active_targets());
  std::vector<std::string> argv = {
      "systemctl", "show", "--no-pager", "--property=Id", "--property=RefuseManualStart", "--"};
  argv.insert(argv.end(), targets.begin(), targets.end());
  ASSIGN_OR_RETURN(const auto shown, run_tool_checked(std::move(argv), kSystemctlTimeout));
  // Some can't be started by hand, and come with those that need them. A paragraph tells of one target.
  std::vector<std::string> refusing;
  std::string id;
  for (const auto& line : lines_of(shown)) {
    if (line.starts_with("Id=")) id = line.substr(3);
    if (line == "RefuseManualStart=yes") refusing.push_back(id);
  }
  std::string text;
  for (const auto& target : targets)
    if (!holds(refusing, target)) text += target + "\n";
  return write_file_durably(file, text);
}

Result<void> start_lost_targets(const std::string& file, std::stop_token stop) {
  const auto remembered = read_file(file, kTargetsMax);
  std::vector<std::string> wanted;
  if (remembered) wanted = lines_of(*remembered);
  std::string asked;  // for the last time
  for (const TimePoint until = sys::now() + kTargetsTimeout;; ::poll(nullptr, 0, kPauseMs)) {
    ASSIGN_OR_RETURN(const auto active, active_targets());
    if (!remembered && (holds(active, kEmergency) || holds(active, kRescue))) wanted = {"default.target"};
    std::vector<std::string> argv = {"systemctl", "start", "--no-block", "--"};
    std::string lost;
    for (const auto& target : wanted) {
      if (holds(active, target) || target == kEmergency || target == kRescue) continue;
      argv.push_back(target);
      lost += " " + target;
    }
    if (lost.empty() || (!remembered && !asked.empty())) return {};
    if (stop.stop_requested() || sys::now() >= until)
      return Error{ErrorKind::kTimedOut,
                   "not active after " + std::to_string(kTargetsTimeout.count() / 1000) + " s:" + lost};
    if (lost == asked) continue;
    log_warning("targets that were active before are not: they are started:" + lost);
    // Refused while emergency mode is still being entered, which nothing may take back: asked again.
    const auto started = run_tool_checked(std::move(argv), kSystemctlTimeout);
    if (started) asked = lost;
  }
}

void start_bus_if_gone() {
  const auto running = running_units("*.service");
  if (!running) return log_warning(running.error().message);
  // Either program that can be the bus has the name of the first as its alias.
  if (!holds(*running, "dbus.service") && !holds(*running, "dbus-broker.service")) {
    log_warning("the system bus does not run: it is started");
    const auto started = run_tool_checked(
        {"systemctl", "start", "--job-mode=ignore-dependencies", "--", "dbus.socket", "dbus.service"},
        kSystemctlTimeout);
    if (!started) log_warning(started.error().message);
  }
  if (!holds(*running, "systemd-logind.service")) {
    const auto started = run_tool_checked(
        {"systemctl", "start", "--job-mode=ignore-dependencies", "--", "systemd-logind.service"},
        kSystemctlTimeout);
    if (!started) log_warning(started.error().message);
  }
}

}  // namespace flurry::agent
