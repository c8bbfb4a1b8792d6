#include "agent/tools.h"

#include <cstdlib>

#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

constexpr size_t kOutputMax = 4 << 20;
// systemd is busy while a switch restarts half the host.
constexpr Millis kSystemdTimeout{60'000};

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
  std::vector<std::string> argv = {
      "systemd-run", "--unit=" + unit.name, "--description=" + unit.description, "--collect",
      "--quiet",     "--no-ask-password"};
  for (const auto& property : unit.properties) argv.push_back("--property=" + property);
  for (const auto& entry : unit.environment) argv.push_back("--setenv=" + entry);
  argv.push_back("--");
  argv.insert(argv.end(), unit.argv.begin(), unit.argv.end());
  RETURN_IF_ERROR(run_tool_checked(std::move(argv), kSystemdTimeout));
  return {};
}

Result<bool> is_unit_running(const std::string& unit) {
  ASSIGN_OR_RETURN(const auto result, run_tool({"systemctl", "is-active", "--", unit}, kSystemdTimeout));
  const std::string& state = result.standard_output;
  return state.starts_with("active") || state.starts_with("activating") || state.starts_with("reloading") ||
         state.starts_with("deactivating");
}

Result<void> stop_unit(const std::string& unit) {
  // `systemctl stop` waits for the job, and fails for a unit that was never loaded.
  const auto stopped = run_tool_checked({"systemctl", "stop", "--", unit}, kSystemdTimeout);
  [[maybe_unused]] const auto reset = run_tool({"systemctl", "reset-failed", "--", unit}, kSystemdTimeout);
  ASSIGN_OR_RETURN(const bool runs, is_unit_running(unit));
  if (!runs) return {};
  if (!stopped) return stopped.error();
  return Error{ErrorKind::kFailed, unit + " still runs after it was stopped"};
}

}  // namespace flurry::agent
