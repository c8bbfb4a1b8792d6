#include <algorithm>

#include "cli/verbs/ask_hosts.h"
#include "cli/verbs/rollout_run.h"
#include "cli/verbs/verbs.h"

namespace flurry {
namespace {

constexpr Millis kSessionTimeout{60'000};

// Where one host shall go: generation --to N, else the newest one before the present that names
// another system. Only committed systems are generations, whoever made them.
Result<StorePath> choose_target(const Inspection& inspection, std::optional<unsigned long long> to) {
  const auto& generations = inspection.generations;
  const auto present = inspection.facts.state.generation;
  const GenerationEntry* best = nullptr;
  for (const auto& generation : generations) {
    if (to ? generation.number != *to : !present || generation.number >= *present) continue;
    if (!to && inspection.facts.state.profile == generation.path) continue;
    if (!best || generation.number > best->number) best = &generation;
  }
  if (best) return best->path;
  std::string known;
  for (const auto& generation : generations)
    known += (known.empty() ? "" : ", ") + std::to_string(generation.number);
  return Error{ErrorKind::kInvalidInput, (to ? "there is no generation " + std::to_string(*to)
                                             : std::string("there is no generation before this one")) +
                                             "; the host has: " + (known.empty() ? "none" : known)};
}

}  // namespace

int run_rollback(Context& context) {
  auto fleet = load_selected(context);
  if (!fleet) return fail_run(context, fleet.error());
  const auto agent = find_agent_binary();
  if (!agent) return fail_run(context, agent.error());

  using Answer = Result<StorePath>;
  const auto targets = ask_hosts<Answer>(
      context, *fleet, *agent, kSessionTimeout,
      [&](size_t, Result<std::unique_ptr<HostSession>> session) -> Answer {
        if (!session) return session.error();
        ASSIGN_OR_RETURN(const Inspection inspection,
                         (*session)->agent().inspect({}, true, sys::now() + kSessionTimeout));
        return choose_target(inspection, context.options.to_generation);
      });
  if (!targets) return fail_run(context, {ErrorKind::kCancelled, "interrupted"});

  std::vector<std::optional<StorePath>> paths;
  for (size_t i = 0; i < targets->size(); ++i) {
    const Answer& target = (*targets)[i];
    // All or none: half a fleet on another release by a typing error helps nobody.
    if (!target) {
      const Error error = target.error().with_context(fleet->hosts[i].name.str());
      const bool is_users = error.kind == ErrorKind::kInvalidInput;
      context.reporter.failed(error.message + "; nothing was done on any host", is_users ? 1 : 3);
      return is_users ? 1 : 3;
    }
    context.reporter.note(fleet->hosts[i].name.str() + ": back to " + target->str());
    paths.emplace_back(*target);
  }
  const std::string question =
      "Roll back " + std::to_string(fleet->hosts.size()) + " hosts: " + name_some(*fleet) + "?";
  if (!agreed(context, question))
    return fail_run(context, {ErrorKind::kCancelled, "not agreed to: nothing was done"});
  return run_rollout(context, *fleet, Goal::kSwitch, std::move(paths));
}

}  // namespace flurry
