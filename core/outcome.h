#pragma once

#include <optional>
#include <string_view>

namespace flurry {

// How a host ended: exactly one of these (CONTRACT section 3).
enum class Outcome {
  kUnchanged,
  kSucceeded,
  kStaged,
  kFailedUnchanged,
  kRolledBack,
  kRollbackFailed,
  kSuperseded,
  kUnknown,
  kSkipped,
};

// "failed-unchanged"; the spelling that users, JSON and the journal see.
std::string_view to_string(Outcome outcome);
std::optional<Outcome> parse_outcome(std::string_view text);

enum class Goal { kSwitch, kTest, kBoot, kDryActivate, kPush, kBuild };

// "dry-activate".
std::string_view to_string(Goal goal);
std::optional<Goal> parse_goal(std::string_view text);

// True where the goal needs the agent to run something on the host.
inline bool activates(Goal goal) { return goal != Goal::kPush && goal != Goal::kBuild; }

}  // namespace flurry
