#include "core/activation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>

namespace flurry {
namespace {

const StorePath kOld = *StorePath::parse("/nix/store/00000000000000000000000000000000-old");
const StorePath kNew = *StorePath::parse("/nix/store/11111111111111111111111111111111-new");
const std::string kNonce = "0123456789abcdef0123456789abcdef";
constexpr const char* kBoot = "boot-1";

// A host in memory, which does at once what the machine asks for, and a clock that only moves when
// nothing else can happen.
struct Host {
  std::optional<StorePath> running = kOld;
  std::optional<StorePath> profile = kOld;
  std::optional<uint64_t> generation = 7;
  StorePath boot_default = kOld;
  std::string boot_id = kBoot;
  std::vector<std::string> failed_units;
  std::optional<ActivationRecord> journal;
  std::vector<std::string> calls;

  // Faults.
  std::optional<int> switch_exit = 0;      // of `test` on the new system
  std::optional<int> reactivate_exit = 0;  // of `test` on the old one
  std::optional<int> boot_exit = 0;        // of `boot` on the new one
  bool is_switch_hanging = false;
  bool is_reactivation_hanging = false;
  bool takes_effect = true;  // a failing reactivation still switches
  bool is_check_passing = true;
  bool is_confirmed = true;
  std::vector<std::string> nonces = {kNonce};  // all at once
  std::optional<Phase> unwritable;             // the journal refuses this phase
  int refusals = 1'000;                        // how often
  std::vector<std::string> fails_after_switch;
  std::function<bool(const ActivationRecord&)> crash;  // true: the driver dies after this write

  TimePoint now{Millis(1'000'000)};
  bool crashed = false;

  std::optional<Result<EffectValue>> perform(const effect::Any& what) {
    if (std::holds_alternative<effect::ReadState>(what)) {
      return Result<EffectValue>(
          EffectValue{SystemState{running, profile, generation, boot_id, failed_units}});
    }
    if (const auto* write = std::get_if<effect::WriteJournal>(&what)) {
      if (unwritable == write->record.phase && refusals-- > 0)
        return Result<EffectValue>(Error{ErrorKind::kNoSpace, "disk full"});
      journal = write->record;
      if (crash && crash(*journal)) crashed = true;
      return Result<EffectValue>(EffectValue{});
    }
    if (const auto* run = std::get_if<effect::RunSwitch>(&what)) return run_switch(*run);
    if (std::holds_alternative<effect::RunCheck>(what))
      return Result<EffectValue>(EffectValue{CheckResult{is_check_passing, "HTTP 500"}});
    if (const auto* set = std::get_if<effect::SetProfile>(&what)) {
      calls.push_back("set-profile");
      profile = set->path;
      generation = 8;
    } else if (const auto* restore = std::get_if<effect::RestoreProfile>(&what)) {
      calls.push_back("restore-profile");
      generation = restore->generation;
      profile = generation ? std::optional(kOld) : std::nullopt;
    } else if (std::holds_alternative<effect::StopSwitch>(what)) {
      calls.push_back("stop");
    } else if (std::holds_alternative<effect::ArmDeadman>(what)) {
      calls.push_back("arm");
    } else if (std::holds_alternative<effect::DisarmDeadman>(what)) {
      calls.push_back("disarm");
    }
    return Result<EffectValue>(EffectValue{});
  }

  std::optional<Result<EffectValue>> run_switch(const effect::RunSwitch& run) {
    const bool is_new = run.closure == kNew;
    calls.push_back(std::string(run.attach ? "attach " : "") + (is_new ? "new " : "old ") +
                    (run.action == effect::SwitchAction::kBoot ? "boot" : "test"));
    if (run.attach) return Result<EffectValue>(EffectValue{SwitchExit{std::nullopt, ""}});
    if (run.action == effect::SwitchAction::kDryActivate)
      return Result<EffectValue>(EffectValue{SwitchExit{switch_exit, "dry"}});
    if (run.action == effect::SwitchAction::kBoot) {
      const auto exit = is_new ? boot_exit : std::optional<int>(0);
      if (exit == 0) boot_default = run.closure;
      return Result<EffectValue>(EffectValue{SwitchExit{exit, ""}});
    }
    if (is_new && is_switch_hanging) {
      running = run.closure;
      return std::nullopt;
    }
    if (!is_new && is_reactivation_hanging) return std::nullopt;
    const auto exit = is_new ? switch_exit : reactivate_exit;
    const bool starts = exit != 1 && exit != 100;
    if (starts && (exit == 0 || takes_effect)) running = run.closure;
    failed_units = is_new && starts ? fails_after_switch : std::vector<std::string>{};
    std::string said = "said\n";
    for (const auto& unit : failed_units) said += "warning: the following units failed: " + unit + "\n";
    return Result<EffectValue>(EffectValue{SwitchExit{exit, said}});
  }

  void drive(Activation& machine) {
    std::vector<ActivationInput> inputs;
    for (int turns = 0; turns < 10'000 && !machine.is_finished() && !crashed; ++turns) {
      const auto effects = machine.step(now, std::move(inputs));
      inputs.clear();
      for (const auto& effect : effects) {
        auto ended = perform(effect.what);
        if (crashed) return;
        if (ended) inputs.emplace_back(EffectEnded{effect.id, *ended});
      }
      if (!inputs.empty()) continue;
      if (is_confirmed && journal && journal->phase == Phase::kAwaitingConfirmation &&
          !machine.is_finished()) {
        is_confirmed = false;
        for (const auto& nonce : nonces) inputs.emplace_back(ConfirmReceived{nonce});
        continue;
      }
      if (machine.is_finished()) return;
      const auto wakeup = machine.next_wakeup();
      ASSERT_TRUE(wakeup) << "waits for ever in " << to_string(machine.record().phase);
      now = std::max(*wakeup, now + Millis(1));
    }
    ASSERT_TRUE(machine.is_finished() || crashed) << "does not end";
  }

  bool called(const std::string& what) const {
    return std::find(calls.begin(), calls.end(), what) != calls.end();
  }
};

ActivationSpec spec_of(Goal goal = Goal::kSwitch) {
  ActivationSpec spec{.deployment = *DeploymentId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
                      .nonce = kNonce,
                      .who = "alice",
                      .revision = "",
                      .profiles = {system_profile(kNew)}};
  spec.goal = goal;
  HealthCheck check;
  check.name = "site";
  check.kind = UnitCheck{"site.service"};
  spec.health.checks.push_back(check);
  return spec;
}

Outcome outcome_of(Host& host, const ActivationSpec& spec) {
  Activation machine = Activation::begin(spec, 1);
  host.drive(machine);
  return machine.record().outcome.value_or(Outcome::kUnknown);
}

void expect_as_before(const Host& host) {
  EXPECT_EQ(host.running, kOld);
  EXPECT_EQ(host.profile, kOld);
  EXPECT_EQ(host.generation, 7u);
  EXPECT_EQ(host.boot_default, kOld);
}

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
