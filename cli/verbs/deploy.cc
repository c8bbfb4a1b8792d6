#include <map>

#include "cli/verbs/rollout_run.h"
#include "cli/verbs/verbs.h"
#include "core/profile.h"

namespace flurry {
namespace {

// What a user should know before it happens: section 2's order can't be kept for these.
std::string untested_profiles(const Fleet& fleet) {
  std::map<std::string, size_t> hosts;  // by profile
  for (const auto& host : fleet.hosts)
    for (const auto& [name, config] : host.profiles) hosts[name] += name != kSystemProfile;
  std::string names;
  for (const auto& [name, count] : hosts)
    if (count > 0)
      names += (names.empty() ? "" : ", ") + name + " on " + std::to_string(count) +
               (count == 1 ? " host" : " hosts");
  if (names.empty()) return "";
  return "users' profiles can't be tested before they are set, and are set back if their host goes back: " +
         names;
}

}  // namespace

int run_deploy(Context& context) {
  const Goal goal = context.options.goal;
  const bool changes_hosts = goal == Goal::kSwitch || goal == Goal::kTest || goal == Goal::kBoot;
  const auto fleet = load_selected(context, goal == Goal::kBuild ? Reach::kNone : Reach::kBySsh);
  if (!fleet) return fail_run(context, fleet.error());
  if (changes_hosts && fleet->needs_selection && context.options.on.empty() &&
      context.options.fragment_hosts.empty())
    return fail_run(context, {ErrorKind::kInvalidInput,
                              "the hive's meta.allowApplyAll is false: say which hosts with --on"});
  const std::string question = "Deploy (" + std::string(to_string(goal)) + ") to " +
                               std::to_string(fleet->hosts.size()) + " hosts: " + name_some(*fleet) + "?";
  if (changes_hosts && !agreed(context, question))
    return fail_run(context, {ErrorKind::kCancelled, "not agreed to: nothing was done"});
  if (const std::string note = untested_profiles(*fleet); !note.empty() && changes_hosts)
    context.reporter.note(note);
  return run_rollout(context, *fleet, goal, {});
}

}  // namespace flurry
