#include "cli/verbs/rollout_run.h"

#include <poll.h>
#include <pwd.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iostream>

#include "cli/deployer.h"
#include "cli/leave.h"
#include "core/check.h"
#include "core/sys/clock.h"

namespace flurry {
namespace {

template <size_t N>
void fill_random(unsigned char (&bytes)[N]) {
  FLURRY_CHECK(::getrandom(bytes, N, 0) == static_cast<ssize_t>(N));
}

DeploymentId make_deployment_id() {
  unsigned char entropy[10];
  fill_random(entropy);
  return DeploymentId::make(static_cast<unsigned long long>(sys::unix_ms()), entropy);
}

std::string user_at_machine() {
  const passwd* user = ::getpwuid(::getuid());
  char machine[256] = "";
  ::gethostname(machine, sizeof machine - 1);
  return std::string(user ? user->pw_name : "?") + "@" + machine;
}

// With the fleet's own remote builders, where the user has named none.
eval::EvalOptions with_builders(eval::EvalOptions options, const std::string& builders) {
  const auto is_named = [](const auto& option) { return option.first == "builders"; };
  if (!builders.empty() && std::none_of(options.nix_options.begin(), options.nix_options.end(), is_named))
    options.nix_options.emplace_back("builders", builders);
  return options;
}

bool needs_agent(Goal goal) { return goal != Goal::kBuild; }

}  // namespace

std::string make_nonce() {
  unsigned char bytes[16];
  fill_random(bytes);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

int run_rollout(Context& context, const Fleet& fleet, Goal goal,
                std::vector<std::vector<FixedProfile>> fixed) {
  AgentBinary agent;
  if (needs_agent(goal)) {
    auto found = find_agent_binary();
    if (!found) return fail_run(context, found.error());
    agent = *std::move(found);
  }
  const Options& options = context.options;
  std::optional<copy::SigningKey> signing_key;
  if (!options.sign_key.empty()) {
    auto key = copy::SigningKey::load(options.sign_key);
    if (!key) return fail_run(context, key.error());
    signing_key = *std::move(key);
  }
  const DeploymentOptions deployment{.deployment = make_deployment_id(),
                                     .who = user_at_machine(),
                                     .revision = fleet.revision,
                                     .goal = goal,
                                     .magic_rollback = options.magic_rollback,
                                     .allow_no_rollback = options.allow_no_rollback,
                                     .only_plan = options.verb == Verb::kPlan,
                                     .confirm_timeout = options.confirm_timeout};
  DeploymentInfo info{
      deployment.deployment.str(), fleet.flake_ref,     fleet.revision, goal, deployment.who, {},
      options.magic_rollback,      deployment.only_plan};
  std::vector<HostTicket> tickets;
  for (size_t i = 0; i < fleet.hosts.size(); ++i) {
    info.hosts.push_back(fleet.hosts[i].name.str());
    tickets.push_back({make_nonce(), fixed.empty() ? std::vector<FixedProfile>() : fixed[i]});
  }
  context.reporter.started(info);

  const TimePoint started = sys::now();
  Rollout rollout(fleet.hosts, deployment, std::move(tickets), options.parallel);
  const eval::EvalOptions build_options = with_builders(context.eval_options, fleet.builders);
  HostRunner runner({fleet, deployment, build_options, context.transport, context.evaluator, agent,
                     signing_key ? &*signing_key : nullptr, context.happenings});
  Deployer deployer(fleet, rollout, runner, context.happenings, context.reporter);
  const std::vector<HostResult> results = deployer.run();
  const int code = exit_code(results, rollout.was_interrupted());
  const bool has_tested =
      goal == Goal::kTest && std::any_of(results.begin(), results.end(), [](const auto& result) {
        return result.outcome == Outcome::kSucceeded;
      });
  if (has_tested)
    context.reporter.note(
        "goal test commits nothing: the new systems run until the next boot; flurry deploy keeps them");
  context.reporter.finished(results, code, sys::now() - started);
  if (rollout.was_interrupted()) {
    // What still runs in a thread must not keep a user who wants to leave.
    leave(code);
  }
  return code;
}

std::optional<std::string> read_line(int fd, const std::stop_token& stop) {
  constexpr int kTickMs = 50;
  constexpr size_t kLineMax = 4096;
  std::string line;
  while (line.size() < kLineMax) {
    if (stop.stop_requested()) return std::nullopt;
    pollfd ready{fd, POLLIN, 0};
    if (::poll(&ready, 1, kTickMs) <= 0) continue;
    char byte = 0;
    const ssize_t n = ::read(fd, &byte, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || byte == '\n') return line;
    line += byte;
  }
  return line;
}

bool is_yes(const std::string& answer) { return answer == "y" || answer == "Y" || answer == "yes"; }

bool agreed(const Context& context, const std::string& question) {
  const bool somebody_is_there = ::isatty(STDIN_FILENO) && ::isatty(STDERR_FILENO);
  if (context.options.yes || !somebody_is_there) return true;
  std::cerr << question << " [y/N] " << std::flush;
  const auto answer = read_line(STDIN_FILENO, context.interrupted);
  if (!answer) std::cerr << std::endl;
  return answer && is_yes(*answer);
}

std::string name_some(const Fleet& fleet) {
  constexpr size_t kNamesMax = 8;
  std::string out;
  const size_t shown = std::min(fleet.hosts.size(), kNamesMax);
  for (size_t i = 0; i < shown; ++i) out += (i ? ", " : "") + fleet.hosts[i].name.str();
  if (fleet.hosts.size() > shown) out += " and " + std::to_string(fleet.hosts.size() - shown) + " more";
  return out;
}

}  // namespace flurry
