#include "agent/checks.h"

#include <poll.h>

#include "agent/probe.h"
#include "core/sys/clock.h"
#include "core/sys/subprocess.h"
#include "core/wire/text.h"

namespace flurry::agent {
namespace {

constexpr size_t kMessageMax = 300;
constexpr size_t kOutputMax = 1 << 20;
// The probe keeps the timeout itself, with a better message; this is for one that can't.
constexpr Millis kProbeGrace{500};
constexpr int kExhaustedPauseMs = 50;

// The last line that says something.
std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '\r'))
    text.remove_suffix(1);
  const size_t newline = text.rfind('\n');
  if (newline != std::string_view::npos) text.remove_prefix(newline + 1);
  if (text.size() > kMessageMax) text = text.substr(0, kMessageMax);
  return wire::clean_text(text, kMessageMax);
}

sys::Command command_for(const HealthCheck& check, const std::string& probe) {
  sys::Command command;
  command.output_limit = kOutputMax;
  const std::string timeout = std::to_string(check.timeout.count());
  if (const auto* http = std::get_if<HttpCheck>(&check.kind)) {
    command.argv = {probe, "probe", "http", "--timeout-ms", timeout, "--method", http->method};
    for (const uint16_t status : http->status)
      command.argv.insert(command.argv.end(), {"--status", std::to_string(status)});
    if (http->insecure_tls) command.argv.push_back("--insecure-tls");
    // These may hold a secret, and everybody can read a command line.
    command.standard_input = encode_probe_secrets(*http);
  } else if (const auto* tcp = std::get_if<TcpCheck>(&check.kind)) {
    command.argv = {probe,   "probe", "tcp",     "--timeout-ms",
                    timeout, "--",    tcp->host, std::to_string(tcp->port)};
  } else if (const auto* program = std::get_if<CommandCheck>(&check.kind)) {
    command.argv = {probe, "run-check", "--"};
    command.argv.insert(command.argv.end(), program->argv.begin(), program->argv.end());
  } else if (const auto* unit = std::get_if<UnitCheck>(&check.kind)) {
    command.argv = {"systemctl", "is-active", "--", unit->unit};
  }
  return command;
}

// That this host is out of descriptors or processes for a moment says nothing about what is checked.
Result<sys::CommandResult> run_patiently(const sys::Command& command, TimePoint deadline) {
  for (;; ::poll(nullptr, 0, kExhaustedPauseMs)) {
    auto result = sys::run(command, deadline);
    const bool may_go_later = !result && result.error().kind == ErrorKind::kExhausted &&
                              sys::now() + Millis(kExhaustedPauseMs) < deadline;
    if (!may_go_later || command.stop.stop_requested()) return result;
  }
}

}  // namespace

CheckResult run_check_once(const HealthCheck& check, const std::string& probe_program, std::stop_token stop) {
  sys::Command command = command_for(check, probe_program);
  if (command.argv.empty()) return {false, "this agent can't run such a check"};
  command.stop = std::move(stop);
  const auto result = run_patiently(command, sys::now() + check.timeout + kProbeGrace);
  if (!result) {
    if (result.error().kind == ErrorKind::kTimedOut)
      return {false, "no answer within " + std::to_string(check.timeout.count()) + " ms"};
    return {false, last_line(result.error().message)};
  }
  std::string message = last_line(result->standard_output);
  if (message.empty()) message = last_line(result->standard_error);
  const bool passed = result->exit_code == 0;
  const bool speaks_for_itself = !std::holds_alternative<CommandCheck>(check.kind) && result->signal == 0;
  if (passed || (speaks_for_itself && !message.empty())) return {passed, message};
  return {false, sys::describe_exit(*result) + (message.empty() ? "" : ": " + message)};
}

}  // namespace flurry::agent
