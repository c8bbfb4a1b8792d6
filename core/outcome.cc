#include "core/outcome.h"

#include <array>
#include <utility>

namespace flurry {
namespace {

constexpr std::array<std::pair<Outcome, std::string_view>, 9> kOutcomes{{
    {Outcome::kUnchanged, "unchanged"},
    {Outcome::kSucceeded, "succeeded"},
    {Outcome::kStaged, "staged"},
    {Outcome::kFailedUnchanged, "failed-unchanged"},
    {Outcome::kRolledBack, "rolled-back"},
    {Outcome::kRollbackFailed, "rollback-failed"},
    {Outcome::kSuperseded, "superseded"},
    {Outcome::kUnknown, "unknown"},
    {Outcome::kSkipped, "skipped"},
}};

constexpr std::array<std::pair<Goal, std::string_view>, 6> kGoals{{
    {Goal::kSwitch, "switch"},
    {Goal::kTest, "test"},
    {Goal::kBoot, "boot"},
    {Goal::kDryActivate, "dry-activate"},
    {Goal::kPush, "push"},
    {Goal::kBuild, "build"},
}};

template <typename Table, typename Key>
std::string_view name_of(const Table& table, Key key) {
  for (const auto& [value, name] : table)
    if (value == key) return name;
  return "?";
}

template <typename Key, typename Table>
std::optional<Key> value_of(const Table& table, std::string_view text) {
  for (const auto& [value, name] : table)
    if (name == text) return value;
  return std::nullopt;
}

}  // namespace

std::string_view to_string(Outcome outcome) { return name_of(kOutcomes, outcome); }
std::optional<Outcome> parse_outcome(std::string_view text) { return value_of<Outcome>(kOutcomes, text); }
std::string_view to_string(Goal goal) { return name_of(kGoals, goal); }
std::optional<Goal> parse_goal(std::string_view text) { return value_of<Goal>(kGoals, text); }

}  // namespace flurry
