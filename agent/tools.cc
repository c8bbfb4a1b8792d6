#include "agent/tools.h"

#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "agent/unit_list.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

constexpr size_t kOutputMax = 4 << 20;
// systemd is busy while a switch restarts half the host.
constexpr Millis kSystemdTimeout{60'000};
constexpr int kPauseMs = 50;
constexpr const char* kRunningStates = "--state=active,activating,reloading,refreshing,deactivating";

std::vector<std::string> systemd_run(const TransientUnit& unit, bool with_where_known) {
  std::vector<std::string> argv = {
      "systemd-run", "--unit=" + unit.name, "--description=" + unit.description, "--collect",
      "--quiet",     "--no-ask-password"};
  for (const auto& property : unit.properties) argv.push_back("--property=" + property);
  if (with_where_known)
    for (const auto& property : unit.where_known) argv.push_back("--property=" + property);
  for (const auto& entry : unit.environment) argv.push_back("--setenv=" + entry);
  argv.push_back("--");
  argv.insert(argv.end(), unit.argv.begin(), unit.argv.end());
  return argv;
}

}  // namespace

void use_tool_path() { ::setenv("PATH", kToolPath, 1); }

Result<sys::CommandResult> run_tool(std::vector<std::string> argv, Millis timeout) {
  sys::Command command{.argv = std::move(argv), .environment = {"LC_ALL=C", "SYSTEMD_COLORS=0"}};
  command.output_limit = kOutputMax;
  return sys::run(command, sys::now() + timeout);
}

Result<std::string> run_tool_checked(std::vector<std::string> argv, Millis timeout) {
  sys::Command command{.argv = std::move(argv), .environment = {"LC_ALL=C", "SYSTEMD_COLORS=0"}};
  command.output_limit = kOutputMax;
  return sys::run_checked(command, sys::now() + timeout);
}

Result<void> start_unit(const TransientUnit& unit) {
  const auto started = run_tool_checked(systemd_run(unit, true), kSystemdTimeout);
  if (started) return {};
  // Both systemd-run and PID 1 name a property that they don't know, and they may be of two versions.
  const auto is_blamed = [&](const std::string& property) {
    return started.error().message.find(property.substr(0, property.find('='))) != std::string::npos;
  };
  if (std::none_of(unit.where_known.begin(), unit.where_known.end(), is_blamed)) return started.error();
  RETURN_IF_ERROR(run_tool_checked(systemd_run(unit, false), kSystemdTimeout));
  return {};
}

Result<std::vector<std::string>> running_units(const std::string& pattern) {
  ASSIGN_OR_RETURN(const auto text,
                   run_tool_checked({"systemctl", "list-units", "--all", "--plain", "--no-legend",
                                     "--no-pager", "--full", kRunningStates, "--", pattern},
                                    kSystemdTimeout));
  std::vector<std::string> out;
  for (auto& unit : parse_unit_list(text)) out.push_back(std::move(unit.name));
  return out;
}

Result<bool> is_unit_running(const std::string& unit) {
  ASSIGN_OR_RETURN(const auto running, running_units(unit));
  return !running.empty();
}

Result<void> stop_unit(const std::string& unit) {
  ASSIGN_OR_RETURN(const bool runs, is_unit_running(unit));
  if (!runs) return {};
  // Waits for the job, and fails for a unit that ended and was unloaded meanwhile. Unless it is quiet it
  // looks afterwards for what may start the unit again, and so for a unit that is gone.
  const auto stopped = run_tool_checked({"systemctl", "stop", "--quiet", "--", unit}, kSystemdTimeout);
  ASSIGN_OR_RETURN(const bool still_runs, is_unit_running(unit));
  if (!still_runs) return {};
  if (!stopped) return stopped.error();
  return Error{ErrorKind::kFailed, unit + " still runs after it was stopped"};
}

Result<bool> wait_for_end(const std::string& unit, Millis patience) {
  for (const TimePoint until = sys::now() + patience;; ::poll(nullptr, 0, kPauseMs)) {
    ASSIGN_OR_RETURN(const bool runs, is_unit_running(unit));
    if (!runs) return true;
    if (sys::now() >= until) return false;
  }
}

Result<void> end_unit(const std::string& unit, Millis patience) {
  ASSIGN_OR_RETURN(const bool runs, is_unit_running(unit));
  if (!runs) return {};
  RETURN_IF_ERROR(run_tool({"systemctl", "kill", "--signal=TERM", "--", unit}, kSystemdTimeout));
  ASSIGN_OR_RETURN(const bool has_ended, wait_for_end(unit, patience));
  if (has_ended) return {};
  return stop_unit(unit);
}

Result<std::map<std::string, std::string>> unit_properties(const std::string& unit,
                                                           const std::vector<std::string>& names) {
  std::vector<std::string> argv = {"systemctl", "show", "--no-pager"};
  for (const auto& name : names) argv.push_back("--property=" + name);
  if (!unit.empty()) argv.insert(argv.end(), {"--", unit});
  ASSIGN_OR_RETURN(const auto text, run_tool_checked(std::move(argv), kSystemdTimeout));
  std::map<std::string, std::string> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (const size_t at = line.find('='); at != std::string::npos)
      out[line.substr(0, at)] = line.substr(at + 1);
  return out;
}

}  // namespace flurry::agent
