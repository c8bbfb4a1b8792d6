#include "cli/verbs/ask_hosts.h"
#include "cli/verbs/rollback_choice.h"
#include "cli/verbs/rollout_run.h"
#include "cli/verbs/verbs.h"

namespace flurry {
namespace {

constexpr Millis kSessionTimeout{60'000};

// More than a host is likely to be taken back in a row.
constexpr uint32_t kPastMax = 60;

}  // namespace

int run_rollback(Context& context) {
  auto fleet = load_selected(context, Reach::kBySsh);
  if (!fleet) return fail_run(context, fleet.error());
  const auto agent = find_agent_binary();
  if (!agent) return fail_run(context, agent.error());

  using Answer = Result<RollbackChoice>;
  const auto targets =
      ask_hosts<Answer>(context, *fleet, *agent, kSessionTimeout,
                        [&](size_t host, Result<std::unique_ptr<HostSession>> session) -> Answer {
                          // It ends with its own error.
                          if (fleet->hosts[host].error) return RollbackChoice{};
                          if (!session) return session.error();
                          AgentClient& client = (*session)->agent();
                          const TimePoint deadline = sys::now() + kSessionTimeout;
                          const HostConfig& config = fleet->hosts[host];
                          ASSIGN_OR_RETURN(const Inspection inspection,
                                           client.inspect(ordered_profiles(config), true, deadline));
                          ASSIGN_OR_RETURN(const auto past, client.history(kPastMax, deadline));
                          return choose_rollback(config, inspection, past, context.options.to_generation);
                        });

  std::vector<std::vector<FixedProfile>> fixed;
  for (size_t i = 0; i < targets.size(); ++i) {
    const Answer& target = targets[i];
    // All or none: half a fleet on another release by a typing error helps nobody.
    if (!target) {
      const Error error = target.error().with_context(fleet->hosts[i].name.str());
      const bool is_users = error.kind == ErrorKind::kInvalidInput;
      context.reporter.failed(error.message + "; nothing was done on any host", is_users ? 1 : 3);
      return is_users ? 1 : 3;
    }
    for (const auto& note : target->notes) context.reporter.note(fleet->hosts[i].name.str() + ": " + note);
    fixed.push_back(target->profiles);
  }
  const std::string question =
      "Roll back " + std::to_string(fleet->hosts.size()) + " hosts: " + name_some(*fleet) + "?";
  if (!agreed(context, question))
    return fail_run(context, {ErrorKind::kCancelled, "not agreed to: nothing was done"});
  return run_rollout(context, *fleet, Goal::kSwitch, std::move(fixed));
}

}  // namespace flurry
