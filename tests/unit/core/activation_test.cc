#include "core/activation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "tests/unit/core/activation_host.h"

namespace flurry {
namespace {

TEST(Activation, CommitsAGoodDeployment) {
  Host host;
  EXPECT_EQ(outcome_of(host, spec_of()), Outcome::kSucceeded);
  EXPECT_EQ(host.running, kNew);
  EXPECT_EQ(host.profile, kNew);
  EXPECT_EQ(host.boot_default, kNew);
  EXPECT_EQ(host.journal->phase, Phase::kEnded);
  EXPECT_TRUE(host.called("disarm"));
}

TEST(Activation, LeavesACommittedSystemAlone) {
  Host host{.running = kNew, .profile = kNew};
  EXPECT_EQ(outcome_of(host, spec_of()), Outcome::kUnchanged);
  EXPECT_FALSE(host.journal);
  EXPECT_TRUE(host.calls.empty());
}

TEST(Activation, SaysOfABootGoalThatIsReachedAlreadyWhetherItWaitsForTheBoot) {
  Host staged{.profile = kNew};
  staged.boot_default = kNew;
  EXPECT_EQ(outcome_of(staged, spec_of(Goal::kBoot)), Outcome::kStaged);
  Host runs{.running = kNew, .profile = kNew};
  EXPECT_EQ(outcome_of(runs, spec_of(Goal::kBoot)), Outcome::kUnchanged);
  EXPECT_TRUE(staged.calls.empty());
}

struct ExitCase {
  std::optional<int> exit;
  Outcome outcome;
};

TEST(Activation, KnowsWhatExitCodesMean) {
  const ExitCase cases[] = {
      {0, Outcome::kSucceeded},         {1, Outcome::kFailedUnchanged}, {2, Outcome::kRolledBack},
      {4, Outcome::kRolledBack},  // without a word of what failed
      {100, Outcome::kFailedUnchanged}, {101, Outcome::kRolledBack},    {std::nullopt, Outcome::kRolledBack}};
  for (const auto& c : cases) {
    Host host;
    host.switch_exit = c.exit;
    EXPECT_EQ(outcome_of(host, spec_of()), c.outcome) << c.exit.value_or(-1);
    if (c.outcome != Outcome::kSucceeded) expect_as_before(host);
  }
}

TEST(Activation, GoesBackForUnitsThatFailAnew) {
  Host host;
  host.switch_exit = 4;
  host.fails_after_switch = {"broken.service"};
  EXPECT_EQ(outcome_of(host, spec_of()), Outcome::kRolledBack);
  expect_as_before(host);
}

TEST(Activation, ForgivesUnitsThatFailedBefore) {
  Host host;
  host.failed_units = {"broken.service"};
  host.switch_exit = 4;
  host.fails_after_switch = {"broken.service"};
  EXPECT_EQ(outcome_of(host, spec_of()), Outcome::kSucceeded);
}

TEST(Activation, GoesBackWhenItsDeadlinesPass) {
  for (const int step : {0, 1, 2}) {
    Host host;
    if (step == 0) host.is_switch_hanging = true;
    if (step == 1) host.is_check_passing = false;
    if (step == 2) host.is_confirmed = false;
    EXPECT_EQ(outcome_of(host, spec_of()), Outcome::kRolledBack) << step;
    expect_as_before(host);
    EXPECT_FALSE(host.journal->reason.empty());
  }
}

TEST(Activation, FailedCommitRestoresProfileAndBootDefault) {
  Host host;
  host.boot_exit = 1;
  EXPECT_EQ(outcome_of(host, spec_of()), Outcome::kRolledBack);
  expect_as_before(host);
  EXPECT_TRUE(host.called("restore-profile"));
  EXPECT_TRUE(host.called("old boot"));
}

TEST(Activation, NeverCallsItRolledBackUnverified) {
  Host host;
  host.is_check_passing = false;
  host.reactivate_exit = 2;
  host.takes_effect = false;
  EXPECT_EQ(outcome_of(host, spec_of()), Outcome::kRollbackFailed);
  EXPECT_EQ(std::count(host.calls.begin(), host.calls.end(), "old test"), 2);

  Host hanging;
  hanging.is_check_passing = false;
  hanging.is_reactivation_hanging = true;
  EXPECT_EQ(outcome_of(hanging, spec_of()), Outcome::kRollbackFailed);
  EXPECT_TRUE(hanging.called("stop"));
}

TEST(Activation, JournalThatCannotBeWrittenIsNoReasonToLie) {
  const std::pair<Phase, Outcome> cases[] = {
      {Phase::kPrepared, Outcome::kFailedUnchanged}, {Phase::kSwitching, Outcome::kFailedUnchanged},
      {Phase::kChecking, Outcome::kRolledBack},      {Phase::kAwaitingConfirmation, Outcome::kRolledBack},
      {Phase::kConfirmed, Outcome::kRolledBack},     {Phase::kProfileSet, Outcome::kRolledBack},
      {Phase::kCommitted, Outcome::kSucceeded},      {Phase::kEnded, Outcome::kSucceeded}};
  for (const auto& [phase, outcome] : cases) {
    Host host;
    host.unwritable = phase;
    EXPECT_EQ(outcome_of(host, spec_of()), outcome) << to_string(phase);
    if (outcome != Outcome::kSucceeded) expect_as_before(host);
  }
}

TEST(Activation, TestGoalNeverCommits) {
  Host host;
  EXPECT_EQ(outcome_of(host, spec_of(Goal::kTest)), Outcome::kSucceeded);
  EXPECT_EQ(host.running, kNew);
  EXPECT_EQ(host.profile, kOld);
  EXPECT_EQ(host.boot_default, kOld);
}

// What was refused may stand in the journal all the same.
TEST(Activation, NeverGoesBackBehindASuccessThatMayHaveBeenWritten) {
  Host host;
  host.unwritable = Phase::kEnded;
  host.refusals = 3;
  EXPECT_EQ(outcome_of(host, spec_of(Goal::kTest)), Outcome::kSucceeded);
  EXPECT_EQ(host.running, kNew);
  EXPECT_FALSE(std::ranges::count(host.calls, "old test"));
}

TEST(Activation, BootGoalNeverSwitches) {
  Host host;
  EXPECT_EQ(outcome_of(host, spec_of(Goal::kBoot)), Outcome::kStaged);
  EXPECT_EQ(host.running, kOld);
  EXPECT_EQ(host.boot_default, kNew);

  Host failing;
  failing.boot_exit = 1;
  EXPECT_EQ(outcome_of(failing, spec_of(Goal::kBoot)), Outcome::kFailedUnchanged);
  expect_as_before(failing);
}

TEST(Activation, DryActivateLeavesNoTrace) {
  Host host;
  EXPECT_EQ(outcome_of(host, spec_of(Goal::kDryActivate)), Outcome::kStaged);
  expect_as_before(host);
  EXPECT_FALSE(host.journal);
}

TEST(Activation, FirstDeploymentGoesBackToNoProfile) {
  Host host{.running = kOld, .profile = std::nullopt, .generation = std::nullopt};
  host.boot_exit = 1;
  EXPECT_EQ(outcome_of(host, spec_of()), Outcome::kRolledBack);
  EXPECT_FALSE(host.profile);
}

TEST(Activation, RefusesAHostThatChangedMeanwhile) {
  Host host;
  auto spec = spec_of();
  spec.expected_running = kNew;
  EXPECT_EQ(outcome_of(host, spec), Outcome::kFailedUnchanged);
  EXPECT_FALSE(host.journal);
}

struct CrashCase {
  Phase phase;
  bool in_order;
  Outcome same_boot;
  Outcome other_boot;
};

// The lock may come free between the switch's end and the look at it.
TEST(Activation, TriesOnceMoreWhereALockThatWasMetIsFreeWhenItIsLookedAt) {
  Host host;
  host.lock_looks = {true, true, false};
  EXPECT_EQ(outcome_of(host, spec_of()), Outcome::kSucceeded);
  Host other;  // exit 11 has other causes too
  other.lock_looks = {true, false, false};
  EXPECT_EQ(outcome_of(other, spec_of()), Outcome::kFailedUnchanged);
  expect_as_before(other);
}

// Who goes on before the deadline comes after a kill; after it, after an agent that was frozen or gone.
TEST(Activation, TellsAKilledAgentFromOneThatGotStuck) {
  for (const Phase phase : {Phase::kChecking, Phase::kAwaitingConfirmation})
    for (const bool is_late : {false, true}) {
      Host host;
      host.crash = [&](const ActivationRecord& record) { return record.phase == phase; };
      Activation first = Activation::begin(spec_of(), 1);
      host.drive(first);
      host.crash = nullptr;
      host.crashed = false;
      if (is_late) host.now = host.journal->deadline + kDeadmanGrace;
      Activation second = Activation::recover(*host.journal, host.boot_id);
      host.drive(second);
      const std::string reason = second.record().reason;
      EXPECT_EQ(reason.find("stuck") != std::string::npos, is_late) << reason;
      EXPECT_EQ(reason.find("killed") != std::string::npos, !is_late) << reason;
    }
}

// The driver dies right after it wrote a phase; another one goes on.
TEST(Activation, RecoversInEveryPhase) {
  const CrashCase cases[] = {
      {Phase::kPrepared, false, Outcome::kFailedUnchanged, Outcome::kFailedUnchanged},
      {Phase::kSwitching, false, Outcome::kFailedUnchanged, Outcome::kRolledBack},  // it had not begun
      {Phase::kChecking, false, Outcome::kRolledBack, Outcome::kRolledBack},
      {Phase::kChecking, true, Outcome::kSucceeded, Outcome::kRolledBack},
      {Phase::kAwaitingConfirmation, false, Outcome::kRolledBack, Outcome::kRolledBack},
      {Phase::kAwaitingConfirmation, true, Outcome::kSucceeded, Outcome::kRolledBack},
      {Phase::kConfirmed, false, Outcome::kSucceeded, Outcome::kRolledBack},
      {Phase::kProfileSet, false, Outcome::kSucceeded, Outcome::kRolledBack},
      {Phase::kCommitted, false, Outcome::kSucceeded, Outcome::kSucceeded},
      {Phase::kEnded, false, Outcome::kSucceeded, Outcome::kSucceeded},
  };
  for (const auto& c : cases) {
    for (const bool rebooted : {false, true}) {
      SCOPED_TRACE(std::string(to_string(c.phase)) + (rebooted ? " rebooted" : "") +
                   (c.in_order ? " in order" : ""));
      Host host;
      host.crash = [&](const ActivationRecord& record) { return record.phase == c.phase; };
      Activation first = Activation::begin(spec_of(), 1);
      host.drive(first);
      ASSERT_TRUE(host.crashed);
      host.crash = nullptr;
      host.crashed = false;
      host.is_confirmed = true;
      host.journal->holder_stopped = c.in_order;
      if (rebooted) {
        host.boot_id = "boot-2";
        host.now = TimePoint(Millis(5'000));
        host.running = host.boot_default;
        host.failed_units.clear();
      }
      Activation second = Activation::recover(*host.journal, host.boot_id);
      host.drive(second);
      const Outcome wanted = rebooted ? c.other_boot : c.same_boot;
      EXPECT_EQ(second.record().outcome, wanted) << second.record().reason;
      if (wanted != Outcome::kSucceeded) expect_as_before(host);
      if (wanted == Outcome::kSucceeded) {
        EXPECT_EQ(host.profile, kNew);
        EXPECT_EQ(host.boot_default, kNew);
      }
    }
  }
}

TEST(Activation, RecoversARollback) {
  for (const bool rebooted : {false, true}) {
    Host host;
    host.is_check_passing = false;
    host.crash = [](const ActivationRecord& record) { return record.phase == Phase::kRollingBack; };
    Activation first = Activation::begin(spec_of(), 1);
    host.drive(first);
    ASSERT_TRUE(host.crashed);
    host.crash = nullptr;
    host.crashed = false;
    if (rebooted) {
      host.boot_id = "boot-2";
      host.running = host.boot_default;
    }
    Activation second = Activation::recover(*host.journal, host.boot_id);
    host.drive(second);
    EXPECT_EQ(second.record().outcome, Outcome::kRolledBack) << second.record().reason;
    expect_as_before(host);
  }
}

TEST(Activation, TestGoalRecoversWithoutCommitting) {
  Host host;
  host.crash = [](const ActivationRecord& record) { return record.phase == Phase::kSwitching; };
  Activation first = Activation::begin(spec_of(Goal::kTest), 1);
  host.drive(first);
  host.crash = nullptr;
  host.crashed = false;
  Activation second = Activation::recover(*host.journal, kBoot);
  host.drive(second);
  EXPECT_EQ(second.record().outcome, Outcome::kFailedUnchanged) << "the switch had not begun";
  expect_as_before(host);
}

}  // namespace
}  // namespace flurry
