#include "core/health_gate.h"

#include <gtest/gtest.h>

namespace flurry {
namespace {

using Verdict = HealthGate::Verdict;

TimePoint at(int ms) { return TimePoint(Millis(ms)); }

HealthPolicy policy_with_check(Severity severity = Severity::kRequired) {
  HealthPolicy policy{
      .min_healthy = Millis(1000), .deadline = Millis(10'000), .failed_units = FailedUnits::kIgnore};
  HealthCheck check;
  check.name = "site";
  check.severity = severity;
  check.interval = Millis(500);
  policy.checks.push_back(check);
  return policy;
}

TEST(HealthGate, HoldsForMinHealthy) {
  HealthGate gate(policy_with_check(), at(0), at(10'000));
  gate.observe_units({}, at(0));
  EXPECT_EQ(gate.take_due(at(0)), std::vector<size_t>{0});
  EXPECT_TRUE(gate.take_due(at(0)).empty());
  gate.observe_check(0, true, "HTTP 200", at(100));
  EXPECT_EQ(gate.verdict(at(1099)), Verdict::kPending);
  EXPECT_EQ(gate.verdict(at(1100)), Verdict::kHealthy);
}

// Trap 17.
TEST(HealthGate, AFlapStartsItAnew) {
  auto policy = policy_with_check();
  policy.checks[0].failure_threshold = 1;
  HealthGate gate(policy, at(0), at(10'000));
  gate.observe_units({}, at(0));
  gate.observe_check(0, true, "", at(100));
  gate.observe_check(0, false, "HTTP 500", at(900));
  gate.observe_check(0, true, "", at(1000));
  EXPECT_EQ(gate.verdict(at(1999)), Verdict::kPending);
  EXPECT_EQ(gate.verdict(at(2000)), Verdict::kHealthy);
}

TEST(HealthGate, FailsAtTheDeadline) {
  HealthGate gate(policy_with_check(), at(0), at(10'000));
  gate.observe_units({}, at(0));
  gate.observe_check(0, false, "HTTP 500", at(100));
  EXPECT_EQ(gate.verdict(at(9999)), Verdict::kPending);
  EXPECT_EQ(gate.verdict(at(10'000)), Verdict::kFailed);
  EXPECT_EQ(gate.complaints(), std::vector<std::string>{"site: HTTP 500"});
}

TEST(HealthGate, HealthTooLateIsNoHealth) {
  HealthGate gate(policy_with_check(), at(0), at(10'000));
  gate.observe_units({}, at(0));
  gate.observe_check(0, true, "", at(9500));
  EXPECT_EQ(gate.verdict(at(10'500)), Verdict::kFailed);
}

TEST(HealthGate, WantedChecksOnlyWarn) {
  HealthGate gate(policy_with_check(Severity::kWanted), at(0), at(10'000));
  gate.observe_units({}, at(0));
  gate.observe_check(0, false, "HTTP 500", at(100));
  EXPECT_EQ(gate.verdict(at(1100)), Verdict::kHealthy);
  EXPECT_EQ(gate.warnings().size(), 1u);
}

TEST(HealthGate, IsNotHealthyBeforeTheUnitsWereLookedAtAndWhileOneIsUnwell) {
  HealthPolicy policy{.min_healthy = Millis(0), .deadline = Millis(10'000)};
  HealthGate gate(policy, at(0), at(10'000));
  EXPECT_EQ(gate.verdict(at(0)), Verdict::kPending);
  EXPECT_TRUE(gate.take_units_due(at(0)));
  EXPECT_FALSE(gate.take_units_due(at(0)));
  gate.observe_units({"new.service"}, at(10));
  EXPECT_EQ(gate.verdict(at(20)), Verdict::kPending);
  EXPECT_EQ(gate.complaints(), std::vector<std::string>{"failed units: new.service"});
  gate.observe_units({}, at(30));
  EXPECT_EQ(gate.verdict(at(30)), Verdict::kHealthy);
}

// An agent that was frozen until after the deadline has read nothing and must not say that it failed to.
TEST(HealthGate, SaysThatTheDeadlinePassedWhereNothingCouldBeLookedAt) {
  HealthGate gate(policy_with_check(), at(0), at(10'000));
  EXPECT_EQ(gate.verdict(at(10'000)), Verdict::kFailed);
  EXPECT_EQ(gate.complaints(),
            std::vector<std::string>{"the deadline passed before anything could be looked at"});
}

TEST(HealthGate, ThresholdsCountInARow) {
  auto policy = policy_with_check();
  policy.min_healthy = Millis(0);
  policy.checks[0].success_threshold = 2;
  HealthGate gate(policy, at(0), at(10'000));
  gate.observe_units({}, at(0));
  gate.observe_check(0, true, "", at(1));
  gate.observe_check(0, false, "", at(2));
  gate.observe_check(0, true, "", at(3));
  EXPECT_EQ(gate.verdict(at(3)), Verdict::kPending);
  gate.observe_check(0, true, "", at(4));
  EXPECT_EQ(gate.verdict(at(4)), Verdict::kHealthy);
}

// Trap 16.
TEST(HealthProof, OfNoChecksIsNotReadAsHealth) {
  HealthPolicy policy{.failed_units = FailedUnits::kIgnore};
  EXPECT_EQ(to_string(proof_of(policy, true)), "reachability only");
  EXPECT_EQ(to_string(proof_of(policy, false)), "nothing was checked");
  policy = policy_with_check(Severity::kWanted);
  EXPECT_EQ(to_string(proof_of(policy, true)), "reachability only") << "what is only wanted proves nothing";
  policy.failed_units = FailedUnits::kNew;
  EXPECT_EQ(to_string(proof_of(policy, true)), "no new failed units, reachability only");
  policy.checks[0].severity = Severity::kRequired;
  EXPECT_EQ(to_string(proof_of(policy, true)), "1 check, no new failed units, reachability");
}

TEST(HealthPolicy, HoldsAsLongAsIsSaidAndWithoutAWordByWhatThereIsToCheck) {
  HealthPolicy policy;
  EXPECT_EQ(policy.healthy_for(), Millis(2'000));
  policy.deadline = Millis(1'000);
  EXPECT_EQ(policy.healthy_for(), Millis(1'000));
  policy.deadline = Millis(60'000);
  policy.checks.push_back({.name = "site"});
  EXPECT_EQ(policy.healthy_for(), Millis(10'000));
  policy.min_healthy = Millis(0);
  EXPECT_EQ(policy.healthy_for(), Millis(0));
}

}  // namespace
}  // namespace flurry
