#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/activation.h"

// A host on which what runs, what the profile names and what boots are three different systems: only so it
// can be seen which of them is looked at, and which one is gone back to.

namespace flurry {
namespace {

StorePath path(char c) { return *StorePath::parse("/nix/store/" + std::string(32, c) + "-system"); }

const StorePath kRuns = path('1');
const StorePath kProfile = path('2');
const StorePath kBoots = path('3');
const StorePath kNew = path('9');
const std::string kNonce(32, 'a');

struct Host {
  SystemState state{.running = kRuns, .profile = kProfile, .generation = 7, .boot_id = "boot-1"};
  std::vector<StorePath> tested, installed;
  std::vector<std::string> nonces = {kNonce};  // of confirmations, each in a step of its own
  std::optional<ActivationRecord> journal;
  bool is_healthy = true;
  bool can_read_units = true;
  bool can_run_checks = true;
  int exit = 0;                          // of the switch to the new system
  bool moves_on_failure = false;         // the switch has its effect whatever it exits with
  std::optional<StorePath> set_instead;  // what "set" really sets
  std::vector<std::string> failed_after_going_back;
  std::optional<Phase> dies_after;
  TimePoint now{Millis(1'000'000)};
  bool is_dead = false;

  Host() { state.boot_default = kBoots; }

  Result<EffectValue> perform(const effect::Any& what) {
    if (const auto* read = std::get_if<effect::ReadState>(&what)) {
      const bool is_checking = journal && journal->phase == Phase::kChecking;
      if (is_checking && !can_read_units && !read->is_baseline) return Error{ErrorKind::kFailed, "no bus"};
      return EffectValue{state};
    }
    if (const auto* write = std::get_if<effect::WriteJournal>(&what)) {
      journal = write->record;
      is_dead = dies_after == journal->phase;
    }
    if (std::holds_alternative<effect::RunCheck>(what) && !can_run_checks)
      return Error{ErrorKind::kFailed, "no such program"};
    if (std::holds_alternative<effect::RunCheck>(what))
      return EffectValue{CheckResult{is_healthy, "HTTP 500"}};
    if (const auto* set = std::get_if<effect::SetProfile>(&what)) {
      state.profile = set_instead ? *set_instead : set->path;
      state.generation = 8;
    }
    if (std::holds_alternative<effect::RestoreProfile>(what)) {
      state.profile = kProfile;
      state.generation = 7;
    }
    if (const auto* run = std::get_if<effect::RunSwitch>(&what)) return EffectValue{switched(*run)};
    return EffectValue{};
  }

  SwitchExit switched(const effect::RunSwitch& run) {
    if (run.action == effect::SwitchAction::kBoot) {
      installed.push_back(run.closure);
      state.boot_default = run.closure;
      return {0, ""};
    }
    tested.push_back(run.closure);
    const int code = run.closure == kNew ? exit : 0;
    if (code == 0 || moves_on_failure) state.running = run.closure;
    if (run.closure != kNew) state.failed_units = failed_after_going_back;
    return {code, "said"};
  }

  void drive(Activation& machine) {
    std::vector<ActivationInput> inputs;
    for (int turn = 0; turn < 5'000 && !machine.is_finished() && !is_dead; ++turn) {
      const auto effects = machine.step(now, std::exchange(inputs, {}));
      for (const auto& effect : effects) {
        inputs.emplace_back(EffectEnded{effect.id, perform(effect.what)});
        if (is_dead) return;
      }
      if (!inputs.empty() || machine.is_finished()) continue;
      if (machine.record().phase == Phase::kAwaitingConfirmation && !nonces.empty()) {
        inputs.emplace_back(ConfirmReceived{nonces.front()});
        nonces.erase(nonces.begin());
        continue;
      }
      ASSERT_TRUE(machine.next_wakeup());
      now = std::max(*machine.next_wakeup(), now + Millis(1));
    }
    ASSERT_TRUE(machine.is_finished()) << "does not end";
  }

  Outcome deploy(const ActivationSpec& spec) {
    Activation machine = Activation::begin(spec, 1);
    drive(machine);
    return machine.record().outcome.value_or(Outcome::kUnknown);
  }
};

ActivationSpec spec_of(Goal goal = Goal::kSwitch) {
  ActivationSpec spec{.deployment = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV"),
                      .nonce = kNonce,
                      .profiles = {system_profile(kNew)}};
  spec.goal = goal;
  HealthCheck check;
  check.name = "site";
  check.kind = UnitCheck{"site.service"};
  spec.health.checks.push_back(check);
  return spec;
}

TEST(ThreeSystems, AGoodDeploymentMakesAllThreeTheNewOne) {
  Host host;
  EXPECT_EQ(host.deploy(spec_of()), Outcome::kSucceeded);
  EXPECT_EQ(host.state.running, kNew);
  EXPECT_EQ(host.state.profile, kNew);
  EXPECT_EQ(host.state.boot_default, kNew);
}

TEST(ThreeSystems, WhatIsGoneBackToIsWhatRan) {
  Host host;
  host.is_healthy = false;
  EXPECT_EQ(host.deploy(spec_of()), Outcome::kRolledBack);
  EXPECT_EQ(host.tested, (std::vector{kNew, kRuns}));
  EXPECT_EQ(host.state.running, kRuns);
  EXPECT_EQ(host.state.profile, kProfile);
  EXPECT_EQ(host.state.boot_default, kBoots);
}

TEST(ThreeSystems, WhatRunsIsNotCommittedUntilProfileAndBootDefaultSaySo) {
  struct Case {
    StorePath running, profile, boots;
  };
  for (const auto& c : {Case{kNew, kProfile, kBoots}, Case{kNew, kNew, kBoots}, Case{kNew, kProfile, kNew},
                        Case{kRuns, kNew, kNew}, Case{kRuns, kNew, kBoots}}) {
    Host host;
    host.state.running = c.running;
    host.state.profile = c.profile;
    host.state.boot_default = c.boots;
    EXPECT_EQ(host.deploy(spec_of()), Outcome::kSucceeded)
        << c.running.str() << " " << c.profile.str() << " " << c.boots.str();
    EXPECT_EQ(host.state.running, kNew);
    EXPECT_EQ(host.state.profile, kNew);
    EXPECT_EQ(host.state.boot_default, kNew);
  }
}

TEST(ThreeSystems, OnlyWhatRunsAndIsCommittedIsUnchanged) {
  Host host;
  host.state.running = host.state.profile = host.state.boot_default = kNew;
  EXPECT_EQ(host.deploy(spec_of()), Outcome::kUnchanged);
  EXPECT_TRUE(host.tested.empty());
  EXPECT_FALSE(host.journal);
}

TEST(ThreeSystems, GoalBootLooksAtWhatIsCommittedAndGoalTestAtWhatRuns) {
  Host boot;
  boot.state.running = kNew;
  EXPECT_EQ(boot.deploy(spec_of(Goal::kBoot)), Outcome::kStaged);
  EXPECT_EQ(boot.state.boot_default, kNew);
  EXPECT_EQ(boot.state.profile, kNew);
  EXPECT_TRUE(boot.tested.empty());

  Host test;
  test.state.profile = test.state.boot_default = kNew;
  EXPECT_EQ(test.deploy(spec_of(Goal::kTest)), Outcome::kSucceeded);
  EXPECT_EQ(test.state.running, kNew);
}

TEST(ThreeSystems, AWrongNonceAloneConfirmsNothing) {
  for (const std::string& nonce : {std::string(32, 'f'), std::string(), kNonce.substr(1), kNonce + "a"}) {
    Host host;
    host.nonces = {nonce};
    EXPECT_EQ(host.deploy(spec_of()), Outcome::kRolledBack) << nonce;
    EXPECT_EQ(host.state.running, kRuns);
    EXPECT_EQ(host.state.profile, kProfile);
  }
}

TEST(ThreeSystems, AWrongNonceSpoilsNoRightOne) {
  Host host;
  host.nonces = {std::string(32, 'f'), kNonce};
  EXPECT_EQ(host.deploy(spec_of()), Outcome::kSucceeded);
}

// What it exits with is a word; what runs is the fact.
TEST(ThreeSystems, ASwitchThatFailsAfterItTookEffectIsTakenBack) {
  for (const int code : {1, 2, 100, 101}) {
    Host host;
    host.exit = code;
    host.moves_on_failure = true;
    EXPECT_EQ(host.deploy(spec_of()), Outcome::kRolledBack) << code;
    EXPECT_EQ(host.state.running, kRuns) << code;
    EXPECT_EQ(host.state.profile, kProfile) << code;
  }
}

TEST(ThreeSystems, WithoutAutoRollbackAMissingConfirmationStillGoesBack) {
  Host host;
  host.nonces.clear();
  auto spec = spec_of();
  spec.auto_rollback = false;
  EXPECT_EQ(host.deploy(spec), Outcome::kRolledBack);
  EXPECT_EQ(host.state.running, kRuns);
}

TEST(ThreeSystems, WithoutMagicRollbackNoConfirmationIsWaitedFor) {
  Host host;
  host.nonces.clear();
  auto spec = spec_of();
  spec.magic_rollback = false;
  EXPECT_EQ(host.deploy(spec), Outcome::kSucceeded);
}

TEST(ThreeSystems, ASetThatSetsSomethingElseIsNoCommit) {
  Host host;
  host.set_instead = path('8');
  EXPECT_NE(host.deploy(spec_of()), Outcome::kSucceeded);
  EXPECT_EQ(host.state.running, kRuns);
}

TEST(ThreeSystems, UnitsThatCannotBeReadAreNotWell) {
  Host host;
  host.can_read_units = false;
  EXPECT_EQ(host.deploy(spec_of()), Outcome::kRolledBack);
}

TEST(ThreeSystems, AHostWhoseChecksCannotBeRunIsNotWell) {
  Host host;
  host.can_run_checks = false;
  EXPECT_EQ(host.deploy(spec_of()), Outcome::kRolledBack);
  EXPECT_NE(host.journal->reason.find("no such program"), std::string::npos) << host.journal->reason;
}

TEST(ThreeSystems, AWayBackThatLeavesUnitsFailedIsNoGoodOne) {
  Host host;
  host.is_healthy = false;
  host.failed_after_going_back = {"db.service"};
  EXPECT_EQ(host.deploy(spec_of()), Outcome::kRollbackFailed);
}

// After --goal boot, or by hand: that it boots doesn't mean that anybody confirmed it.
TEST(ThreeSystems, APowerCutConfirmsNothing) {
  for (const Phase phase : {Phase::kChecking, Phase::kAwaitingConfirmation}) {
    Host host;
    host.state.profile = host.state.boot_default = kNew;
    host.dies_after = phase;
    Activation first = Activation::begin(spec_of(), 1);
    host.drive(first);
    ASSERT_TRUE(host.is_dead);
    host.is_dead = false;
    host.dies_after.reset();
    host.nonces.clear();
    host.state.boot_id = "boot-2";
    host.state.running = host.state.boot_default;
    Activation second = Activation::recover(*host.journal, host.state.boot_id);
    host.drive(second);
    EXPECT_NE(second.record().outcome, Outcome::kSucceeded) << to_string(phase);
    EXPECT_EQ(host.state.running, kRuns) << to_string(phase);
  }
}

}  // namespace
}  // namespace flurry
