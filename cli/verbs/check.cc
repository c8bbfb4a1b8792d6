#include "cli/verbs/ask_hosts.h"
#include "cli/verbs/verbs.h"

namespace flurry {
namespace {

constexpr Millis kSessionTimeout{60'000};
// All checks of a host run side by side; each has its own timeout, of at most some minutes.
constexpr Millis kCheckTimeout{300'000};

using Answer = Result<std::vector<CheckReport>>;

}  // namespace

int run_check(Context& context) {
  const auto fleet = load_selected(context);
  if (!fleet) return fail_run(context, fleet.error());
  const auto agent = find_agent_binary();
  if (!agent) return fail_run(context, agent.error());

  const auto answers = ask_hosts<Answer>(
      context, *fleet, *agent, kSessionTimeout,
      [&](size_t host, Result<std::unique_ptr<HostSession>> session) -> Answer {
        if (!session) return session.error();
        return (*session)->agent().check(fleet->hosts[host].health, sys::now() + kCheckTimeout);
      });
  if (!answers) return fail_run(context, {ErrorKind::kCancelled, "interrupted"});

  bool is_unreachable = false;
  bool is_unhealthy = false;
  for (size_t i = 0; i < answers->size(); ++i) {
    const std::string& name = fleet->hosts[i].name.str();
    const Answer& answer = (*answers)[i];
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
  return is_unhealthy ? 5 : is_unreachable ? 3 : 0;
}

}  // namespace flurry
