#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/activation.h"

// Going back when the first try goes wrong.

namespace flurry {
namespace {

const StorePath kOld = *StorePath::parse("/nix/store/00000000000000000000000000000000-old");
const StorePath kNew = *StorePath::parse("/nix/store/11111111111111111111111111111111-new");

// What the journal says when the host came back on the old system with the profile already moved.
ActivationRecord half_committed() {
  ActivationRecord record{.spec = {.deployment = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV"),
                                   .nonce = std::string(32, '0'),
                                   .profiles = {system_profile(kNew)}}};
  record.phase = Phase::kProfileSet;
  record.before = {.running = kOld, .profile = kOld, .generation = 7, .boot_id = "boot-1"};
  return record;
}

struct World {
  std::optional<StorePath> profile = kNew;
  std::optional<StorePath> running = kOld;
  std::optional<StorePath> recorded_profile = kOld;
  int profile_failures = 0;  // of the next tries
  bool applies_all_the_same = false;
  int boot_failures = 0;
  std::optional<StorePath> boot_default;                    // as the last install left it
  std::optional<effect::SwitchAction> lost = std::nullopt;  // starts, and can't be waited for
  bool may_run = false;                                     // what was lost

  Result<EffectValue> perform(const effect::Any& what) {
    if (std::holds_alternative<effect::ReadState>(what))
      return EffectValue(SystemState{.running = running, .profile = profile, .boot_id = "boot-2"});
    if (const auto* restore = std::get_if<effect::RestoreProfile>(&what)) {
      const bool fails = profile_failures-- > 0;
      if (!fails || applies_all_the_same) profile = restore->generation ? recorded_profile : std::nullopt;
      if (fails) return Error{ErrorKind::kFailed, "no space"};
    }
    if (std::holds_alternative<effect::StopSwitch>(what)) may_run = false;
    if (const auto* run = std::get_if<effect::RunSwitch>(&what)) {
      EXPECT_FALSE(may_run) << run->unit << " is locked out";
      if (run->action == lost) {
        may_run = true;
        return Error{ErrorKind::kFailed, "the status can't be read"};
      }
      if (run->action != effect::SwitchAction::kBoot) return EffectValue(SwitchExit{0, ""});
      if (boot_failures-- > 0) return EffectValue(SwitchExit{1, ""});
      boot_default = run->closure;
      return EffectValue(SwitchExit{0, ""});
    }
    return EffectValue{};
  }

  Outcome finish(const ActivationRecord& record = half_committed()) {
    Activation machine = Activation::recover(record, "boot-2");
    TimePoint now{Millis(1000)};
    std::vector<ActivationInput> inputs;
    for (int turn = 0; turn < 1000 && !machine.is_finished(); ++turn) {
      const auto effects = machine.step(now, std::exchange(inputs, {}));
      for (const auto& effect : effects) inputs.emplace_back(EffectEnded{effect.id, perform(effect.what)});
      if (inputs.empty() && machine.next_wakeup()) now = std::max(now, *machine.next_wakeup());
    }
    EXPECT_TRUE(machine.is_finished());
    return machine.record().outcome.value_or(Outcome::kUnknown);
  }
};

TEST(Rollback, TriesAgainWhenTheProfileCouldNotBeRestored) {
  World world{.profile_failures = 1};
  EXPECT_EQ(world.finish(), Outcome::kRolledBack);
  EXPECT_EQ(world.profile, kOld);
  EXPECT_EQ(world.boot_default, kOld);
}

TEST(Rollback, RestoresTheBootDefaultEvenWhereRestoringTheProfileLookedLikeAFailure) {
  World world{.profile_failures = 9, .applies_all_the_same = true};
  EXPECT_EQ(world.finish(), Outcome::kRolledBack);
  EXPECT_EQ(world.boot_default, kOld);
}

TEST(Rollback, TriesAgainWhenTheBootDefaultCouldNotBeRestored) {
  World world{.boot_failures = 1};
  EXPECT_EQ(world.finish(), Outcome::kRolledBack);
  EXPECT_EQ(world.boot_default, kOld);
}

TEST(Rollback, StopsASwitchThatCouldNotBeWaitedForBeforeItTellsHowItEnded) {
  World world{.lost = effect::SwitchAction::kTest};
  EXPECT_EQ(world.finish(), Outcome::kRolledBack);
  EXPECT_FALSE(world.may_run);
}

TEST(Rollback, StopsABootInstallationThatCouldNotBeWaitedForBeforeItSwitchesBack) {
  World world{.lost = effect::SwitchAction::kBoot};
  EXPECT_EQ(world.finish(), Outcome::kRollbackFailed);
  EXPECT_FALSE(world.may_run);
}

TEST(Rollback, IsNeverCalledOneWhileTheBootDefaultMayBeTheNewSystem) {
  World world{.boot_failures = 9};
  EXPECT_EQ(world.finish(), Outcome::kRollbackFailed);
}

TEST(Rollback, IsNeverCalledOneWhereTheFirstBootDefaultMayBeTheNewSystem) {
  World world{.running = std::nullopt};
  ActivationRecord record = half_committed();
  record.spec.goal = Goal::kBoot;
  record.phase = Phase::kRollingBack;
  record.back_from = Phase::kProfileSet;
  record.before = {.boot_id = "boot-1"};
  EXPECT_EQ(world.finish(record), Outcome::kRollbackFailed);
  EXPECT_FALSE(world.profile);
}

// Each process that goes back is ended by what it activates, and the next one begins anew.
TEST(Rollback, IsGivenUpWhenItEndsTheAgentEachTime) {
  ActivationRecord record = half_committed();
  record.phase = Phase::kRollingBack;
  record.back_from = Phase::kChecking;
  record.before.boot_id = "boot-2";
  int lives = 0;
  for (std::optional<Outcome> ended; !ended && lives < 100; ++lives) {
    Activation machine = Activation::recover(record, "boot-2");
    World world{.running = kNew};
    std::vector<ActivationInput> inputs;
    TimePoint now{Millis(1000)};
    for (bool is_alive = true; is_alive && !machine.is_finished();) {
      const auto effects = machine.step(now, std::exchange(inputs, {}));
      for (const auto& effect : effects) {
        const auto* run = std::get_if<effect::RunSwitch>(&effect.what);
        if (run && run->action == effect::SwitchAction::kTest) is_alive = false;
        if (const auto* write = std::get_if<effect::WriteJournal>(&effect.what)) record = write->record;
        inputs.emplace_back(EffectEnded{effect.id, world.perform(effect.what)});
      }
      if (inputs.empty() && machine.next_wakeup()) now = std::max(now, *machine.next_wakeup());
    }
    if (machine.is_finished()) ended = machine.record().outcome;
    if (ended) {
      EXPECT_EQ(*ended, Outcome::kRollbackFailed);
    }
  }
  EXPECT_EQ(lives, 11);
}

TEST(Rollback, IsNeverCalledOneWhileTheProfileNamesTheNewSystem) {
  World world{.profile_failures = 9};
  EXPECT_EQ(world.finish(), Outcome::kRollbackFailed);
}

// Nothing ran before: the first deployment to a host.
ActivationRecord first_deployment(Phase phase) {
  ActivationRecord record = half_committed();
  record.phase = phase;
  record.before = {.boot_id = "boot-1"};
  return record;
}

TEST(Rollback, WithNothingToGoBackToStillTakesTheProfileBack) {
  World world{.running = kNew, .recorded_profile = std::nullopt};
  ActivationRecord record = first_deployment(Phase::kRollingBack);
  record.back_from = Phase::kProfileSet;
  EXPECT_EQ(world.finish(record), Outcome::kRollbackFailed);
  EXPECT_FALSE(world.profile) << "or the next deployment would find it committed";
}

TEST(Rollback, ToNothingIsOneWhenARebootBroughtNothingBack) {
  World world{.profile = std::nullopt, .running = std::nullopt, .recorded_profile = std::nullopt};
  EXPECT_EQ(world.finish(first_deployment(Phase::kChecking)), Outcome::kRolledBack);
}

// Nothing ran before, so the new system still runs; who reads "confirmed" in the journal would commit it.
TEST(Rollback, ThatFailedIsNotToldBeforeTheJournalKnowsWhereTheNextProcessWouldCommit) {
  ActivationRecord record = first_deployment(Phase::kConfirmed);
  record.before.boot_id = "boot-2";
  Activation machine = Activation::recover(record, "boot-2");
  World world{.profile = std::nullopt, .running = kNew, .recorded_profile = std::nullopt};
  TimePoint now{Millis(1000)};
  std::vector<ActivationInput> inputs;
  bool is_full = false;
  for (int turn = 0; turn < 200; ++turn) {
    const auto effects = machine.step(now, std::exchange(inputs, {}));
    for (const auto& effect : effects) {
      is_full |= std::holds_alternative<effect::SetProfile>(effect.what);
      const bool is_refused = is_full && (std::holds_alternative<effect::SetProfile>(effect.what) ||
                                          std::holds_alternative<effect::WriteJournal>(effect.what));
      const Error full{ErrorKind::kNoSpace, "disk full"};
      inputs.emplace_back(EffectEnded{effect.id, is_refused ? full : world.perform(effect.what)});
    }
    if (inputs.empty() && machine.next_wakeup()) now = std::max(now, *machine.next_wakeup());
  }
  EXPECT_FALSE(machine.is_finished());
  EXPECT_EQ(machine.record().outcome, Outcome::kRollbackFailed);
}

TEST(Rollback, TouchesNoBootDefaultBeforeItsInstallationBegan) {
  ActivationRecord record = half_committed();
  record.phase = Phase::kRollingBack;
  record.back_from = Phase::kConfirmed;
  World world;
  EXPECT_EQ(world.finish(record), Outcome::kRolledBack);
  EXPECT_EQ(world.profile, kOld);
  EXPECT_FALSE(world.boot_default);
}

TEST(Rollback, ThatWasCutShortGoesOnFromWhatTheJournalKnows) {
  for (const auto back_from : {std::optional<Phase>(Phase::kChecking), std::optional<Phase>()}) {
    ActivationRecord record = half_committed();
    record.phase = Phase::kRollingBack;
    record.back_from = back_from;
    World world{.profile = kOld};
    EXPECT_EQ(world.finish(record), Outcome::kRolledBack);
    // Nothing was committed from checking, so there is no boot default to touch; unknown is the most.
    EXPECT_EQ(world.boot_default.has_value(), !back_from);
  }
}

}  // namespace
}  // namespace flurry
