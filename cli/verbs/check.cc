#include "cli/verbs/ask_hosts.h"
#include "cli/verbs/verbs.h"

namespace flurry {
namespace {

constexpr Millis kSessionTimeout{60'000};
constexpr Millis kCheckTimeout{60'000};

// Each has its own timeout. The host runs a few at a time, among those that others ask for.
Millis patience_for(const HealthPolicy& health) {
  Millis all = kCheckTimeout;
  for (const auto& check : health.checks) all += check.timeout;
  return all;
}

using Answer = Result<std::vector<CheckReport>>;

}  // namespace

int run_check(Context& context) {
  const auto fleet = load_selected(context, Reach::kBySsh);
  if (!fleet) return fail_run(context, fleet.error());
  const auto agent = find_agent_binary();
  if (!agent) return fail_run(context, agent.error());

  const auto answers =
      ask_hosts<Answer>(context, *fleet, *agent, kSessionTimeout,
                        [&](size_t host, Result<std::unique_ptr<HostSession>> session) -> Answer {
                          if (!session) return session.error();
                          const HealthPolicy& health = fleet->hosts[host].health;
                          return (*session)->agent().check(health, sys::now() + patience_for(health));
                        });

  bool is_unreachable = false;
  bool is_unhealthy = false;
  for (size_t i = 0; i < answers.size(); ++i) {
    const std::string& name = fleet->hosts[i].name.str();
    const Answer& answer = answers[i];
    if (const auto& error = fleet->hosts[i].error) {
      context.reporter.checked({name, "configuration", false, true, error->message});
      continue;
    }
    if (!answer) {
      is_unreachable = true;
      context.reporter.checked({name, "reachable", false, true, answer.error().message});
      continue;
    }
    if (answer->empty())
      context.reporter.checked({name, "reachable", true, true, "no health checks are configured"});
    for (CheckReport report : *answer) {
      report.host = name;
      is_unhealthy |= report.required && !report.passed;
      context.reporter.checked(report);
    }
  }
  // Nothing was switched; an unhealthy host is one that somebody should look at.
  return is_unhealthy ? 5 : is_unreachable ? 3 : code_of_errors(*fleet);
}

}  // namespace flurry
