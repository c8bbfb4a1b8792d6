#include <numeric>
#include <thread>

#include "cli/settled_inspection.h"
#include "cli/verbs/ask_hosts.h"
#include "cli/verbs/verbs.h"

namespace flurry {
namespace {

constexpr Millis kSessionTimeout{30'000};
constexpr Millis kEvaluateTimeout{3600'000};

StatusReport ask(const HostConfig& host, Result<std::unique_ptr<HostSession>> session) {
  StatusReport report{.host = host.name.str()};
  if (!session) {
    report.error = session.error().message;
    return report;
  }
  AgentClient& agent = (*session)->agent();
  const auto inspection = inspect_settled(agent, host, sys::now() + kSessionTimeout);
  if (!inspection) {
    report.error = inspection.error().message;
    return report;
  }
  report.state = inspection->facts.state;
  report.wrapped = inspection->facts.wrapped;
  report.booted = inspection->booted;
  report.reboot_needed = inspection->reboot_needed;
  report.system_running = inspection->system_running;
  report.agent_version = agent.version();
  report.active = inspection->active;
  report.last = inspection->last;
  report.notes = inspection->notes;
  return report;
}

}  // namespace

int run_status(Context& context) {
  const auto fleet = load_selected(context);
  if (!fleet) return fail_run(context, fleet.error());
  const auto agent = find_agent_binary();
  if (!agent) return fail_run(context, agent.error());

  // What the flake says is evaluated while the hosts are asked.
  std::vector<HostDerivations> desired(fleet->hosts.size());
  std::vector<std::string> desired_error(fleet->hosts.size());
  std::jthread evaluation([&](const std::stop_token& stop) {
    std::vector<size_t> all(fleet->hosts.size());
    std::iota(all.begin(), all.end(), 0);
    context.evaluator.evaluate(
        *fleet, all,
        [&](size_t host, const Result<HostDerivations>& derivations) {
          if (derivations)
            desired[host] = *derivations;
          else
            desired_error[host] = derivations.error().message;
        },
        sys::now() + kEvaluateTimeout, stop);
  });
  auto reports = ask_hosts<StatusReport>(context, *fleet, *agent, kSessionTimeout,
                                         [&](size_t host, Result<std::unique_ptr<HostSession>> session) {
                                           return ask(fleet->hosts[host], std::move(session));
                                         });
  if (!reports) return fail_run(context, {ErrorKind::kCancelled, "interrupted"});
  evaluation.join();

  bool is_unreachable = false;
  for (size_t i = 0; i < reports->size(); ++i) {
    StatusReport& report = (*reports)[i];
    for (const auto& derivation : desired[i].profiles)
      (derivation.profile.is_system() ? report.desired : report.desired_profiles[derivation.profile.name]) =
          derivation.out.str();
    report.desired_error = desired_error[i];
    is_unreachable |= !report.error.empty();
    context.reporter.status(report);
  }
  return is_unreachable ? 3 : 0;
}

}  // namespace flurry
