#include "cli/verbs/rollout_run.h"
#include "cli/verbs/verbs.h"

namespace flurry {

int run_deploy(Context& context) {
  const auto fleet = load_selected(context);
  if (!fleet) return fail_run(context, fleet.error());
  const Goal goal = context.options.goal;
  const std::string question = "Deploy (" + std::string(to_string(goal)) + ") to " +
                               std::to_string(fleet->hosts.size()) + " hosts: " + name_some(*fleet) + "?";
  const bool changes_hosts = goal == Goal::kSwitch || goal == Goal::kTest || goal == Goal::kBoot;
  if (changes_hosts && !agreed(context, question))
    return fail_run(context, {ErrorKind::kCancelled, "not agreed to: nothing was done"});
  return run_rollout(context, *fleet, goal, {});
}

}  // namespace flurry
