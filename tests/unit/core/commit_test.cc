#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "core/activation.h"

// From the confirmation to the end of the story, gone on with by a process that finds only the journal.

namespace flurry {
namespace {

const StorePath kOld = *StorePath::parse("/nix/store/00000000000000000000000000000000-old");
const StorePath kNew = *StorePath::parse("/nix/store/11111111111111111111111111111111-new");
const StorePath kThird = *StorePath::parse("/nix/store/22222222222222222222222222222222-third");

ActivationRecord record_in(Phase phase) {
  ActivationRecord record{.spec = {.deployment = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV"),
                                   .nonce = std::string(32, '0'),
                                   .profiles = {system_profile(kNew)}}};
  record.phase = phase;
  record.before = {.running = kOld, .profile = kOld, .generation = 7, .boot_id = "boot-1"};
  return record;
}

struct World {
  StorePath running = kNew;
  StorePath profile = kNew;
  StorePath boot_default = kNew;
  int boot_exit = 0;
  int locked_out = 0;  // so many runs for the boot default meet somebody else's lock
  std::optional<StorePath> switches_with_the_lock;   // what that one makes of the host
  std::optional<StorePath> runs_after_boot_install;  // somebody else switches meanwhile
  bool was_new_ever_committed = false;
  bool is_unreadable = false;
  int switches = 0;
  std::function<bool(const ActivationRecord&)> refuses;
  Phase journal = Phase::kPrepared;

  Result<EffectValue> perform(const effect::Any& what) {
    if (std::holds_alternative<effect::ReadState>(what) && is_unreadable)
      return Error{ErrorKind::kTimedOut, "systemd is busy"};
    if (std::holds_alternative<effect::ReadState>(what))
      return EffectValue(SystemState{running, profile, 7, "boot", {}});
    if (const auto* write = std::get_if<effect::WriteJournal>(&what)) {
      if (refuses && refuses(write->record)) return Error{ErrorKind::kFailed, "read-only file system"};
      journal = write->record.phase;
    }
    if (const auto* set = std::get_if<effect::SetProfile>(&what)) profile = set->path;
    if (std::holds_alternative<effect::RestoreProfile>(what)) profile = kOld;
    if (const auto* run = std::get_if<effect::RunSwitch>(&what)) {
      ++switches;
      const bool is_boot = run->action == effect::SwitchAction::kBoot;
      if (is_boot && locked_out > 0 && switches_with_the_lock)
        running = profile = boot_default = *switches_with_the_lock;
      if (is_boot && locked_out-- > 0) return EffectValue(SwitchExit{11, "Could not acquire lock\n"});
      const int exit = is_boot && run->closure == kNew ? boot_exit : 0;
      if (exit == 0) (is_boot ? boot_default : running) = run->closure;
      if (is_boot && run->closure == kNew && runs_after_boot_install) running = *runs_after_boot_install;
      was_new_ever_committed |= boot_default == kNew;
      return EffectValue(SwitchExit{exit, ""});
    }
    return EffectValue{};
  }

  // Goes on from a journal in `phase` that was written in the boot "boot-1".
  Outcome finish(Phase phase, const std::string& boot_id) {
    Activation machine = Activation::recover(record_in(phase), boot_id);
    TimePoint now{Millis(1000)};
    std::vector<ActivationInput> inputs;
    for (int turn = 0; turn < 10'000 && !machine.is_finished(); ++turn) {
      const auto effects = machine.step(now, std::exchange(inputs, {}));
      for (const auto& effect : effects) inputs.emplace_back(EffectEnded{effect.id, perform(effect.what)});
      if (inputs.empty() && machine.next_wakeup()) now = std::max(now, *machine.next_wakeup());
    }
    EXPECT_TRUE(machine.is_finished());
    return machine.record().outcome.value_or(Outcome::kUnknown);
  }
};

TEST(Commit, IsNotDoneAgainOnceTheJournalSaysCommitted) {
  for (const char* boot_id : {"boot-1", "boot-2"}) {
    World world{.boot_exit = 1};  // a second try would fail, and undo what was told as a success
    EXPECT_EQ(world.finish(Phase::kCommitted, boot_id), Outcome::kSucceeded) << boot_id;
    EXPECT_EQ(world.switches, 0) << boot_id;
  }
}

TEST(Commit, StandsWhereTheHostCannotBeReadAfterAReboot) {
  World world{.is_unreadable = true};
  EXPECT_EQ(world.finish(Phase::kCommitted, "boot-2"), Outcome::kSucceeded);
  EXPECT_EQ(world.switches, 0);
}

TEST(Commit, IsNotBegunForASystemThatNoLongerRuns) {
  for (const Phase phase : {Phase::kConfirmed, Phase::kProfileSet}) {
    World world{.running = kOld, .profile = kOld, .boot_default = kOld};
    EXPECT_EQ(world.finish(phase, "boot-1"), Outcome::kRolledBack) << to_string(phase);
    EXPECT_FALSE(world.was_new_ever_committed) << to_string(phase);
    EXPECT_EQ(world.profile, kOld);
  }
}

TEST(Commit, DoesNotSucceedForASystemThatWasReplacedMeanwhile) {
  World world{.profile = kOld, .boot_default = kOld, .runs_after_boot_install = kThird};
  EXPECT_EQ(world.finish(Phase::kConfirmed, "boot-1"), Outcome::kSuperseded);
  EXPECT_EQ(world.running, kThird) << "what somebody else switched to is left alone";
  EXPECT_EQ(world.profile, kOld);
  EXPECT_EQ(world.boot_default, kOld);
}

TEST(Commit, WaitsForALockThatComesFreeInTime) {
  World world{.boot_default = kOld, .locked_out = 5};
  EXPECT_EQ(world.finish(Phase::kConfirmed, "boot-1"), Outcome::kSucceeded);
  EXPECT_EQ(world.boot_default, kNew);
}

TEST(Commit, DoesNotSetItsBootDefaultOverThatOfWhoeverHeldTheLock) {
  World world{.boot_default = kOld, .locked_out = 5, .switches_with_the_lock = kThird};
  EXPECT_EQ(world.finish(Phase::kConfirmed, "boot-1"), Outcome::kSuperseded);
  EXPECT_EQ(world.running, kThird);
  EXPECT_EQ(world.profile, kThird);
  EXPECT_EQ(world.boot_default, kThird);
}

TEST(Commit, LeavesAProfileThatSomebodyElseHasSetMeanwhile) {
  World world{.profile = kThird, .boot_default = kOld};
  EXPECT_EQ(world.finish(Phase::kConfirmed, "boot-1"), Outcome::kSuperseded);
  EXPECT_EQ(world.profile, kThird);
  EXPECT_FALSE(world.was_new_ever_committed);
}

TEST(Commit, IsTakenBackWhereTheLockIsHeldForTooLong) {
  World world{.boot_default = kOld, .boot_exit = 11};
  EXPECT_EQ(world.finish(Phase::kConfirmed, "boot-1"), Outcome::kRolledBack);
  EXPECT_EQ(world.boot_default, kOld);
  EXPECT_FALSE(world.was_new_ever_committed);
}

// Whether the dead agent had turned back can't be told by what runs.
TEST(Commit, ThatOnlyInstallsTheBootDefaultIsTakenBackWhenItsAgentDies) {
  for (const Phase phase : {Phase::kConfirmed, Phase::kProfileSet}) {
    ActivationRecord record = record_in(phase);
    record.spec.goal = Goal::kBoot;
    Activation machine = Activation::recover(record, record.before.boot_id);
    const auto effects = machine.step(TimePoint(Millis(1)), {});
    ASSERT_EQ(effects.size(), 1u);
    const auto* write = std::get_if<effect::WriteJournal>(&effects[0].what);
    ASSERT_TRUE(write);
    EXPECT_EQ(write->record.phase, Phase::kRollingBack) << to_string(phase);
  }
}

TEST(Commit, DoneAgainNeverForgetsThatTheBootDefaultMayBeTheNewOne) {
  const ActivationRecord record = record_in(Phase::kProfileSet);
  Activation machine = Activation::recover(record, record.before.boot_id);
  auto effects = machine.step(TimePoint(Millis(1)), {});
  ASSERT_EQ(effects.size(), 1u);
  ASSERT_TRUE(std::holds_alternative<effect::ArmDeadman>(effects[0].what));
  effects = machine.step(TimePoint(Millis(2)), {EffectEnded{effects[0].id, EffectValue{}}});
  ASSERT_EQ(effects.size(), 1u);
  const auto* write = std::get_if<effect::WriteJournal>(&effects[0].what);
  ASSERT_TRUE(write);
  EXPECT_EQ(write->record.phase, Phase::kProfileSet);
}

TEST(Commit, IsNoSuccessBeforeTheJournalKnowsOfIt) {
  World world;
  int refusals = 0;
  world.refuses = [&](const ActivationRecord& record) {
    return record.phase >= Phase::kCommitted && ++refusals <= 5;
  };
  EXPECT_EQ(world.finish(Phase::kProfileSet, "boot-1"), Outcome::kSucceeded);
  EXPECT_EQ(world.journal, Phase::kEnded);
}

TEST(Recovery, LeavesAHostAloneThatRebootedBeforeTheSwitch) {
  World world{.running = kThird, .profile = kThird, .boot_default = kThird};
  EXPECT_EQ(world.finish(Phase::kPrepared, "boot-2"), Outcome::kFailedUnchanged);
  EXPECT_EQ(world.running, kThird);
  EXPECT_EQ(world.switches, 0);
}

}  // namespace
}  // namespace flurry
