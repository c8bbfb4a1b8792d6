#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/activation.h"

// What a switch on the way back left undone, and the next one finds nothing of: reloads that failed, and an
// activation script. Each of them was found by the simulator.

namespace flurry {
namespace {

const StorePath kOld = *StorePath::parse("/nix/store/00000000000000000000000000000000-old");
const StorePath kNew = *StorePath::parse("/nix/store/11111111111111111111111111111111-new");
constexpr const char* kFailedReload = "activating the configuration...\nFailed to reload rel.service\n";

struct World {
  SystemState state{.running = kNew, .profile = kOld, .generation = 7, .boot_id = "boot-1"};
  // Of each switch back, the last one repeats; nothing: it hangs.
  std::vector<std::optional<Result<EffectValue>>> switches_back;
  std::string earlier;        // printed by a switch back of an earlier life
  bool has_earlier = false;   // there was one
  std::string when_stopped;   // what a hanging one has printed
  int times_driven_back = 0;  // by earlier lives
  long backs = 0;

  std::optional<Result<EffectValue>> perform(const effect::Any& what) {
    if (std::holds_alternative<effect::ReadState>(what)) return EffectValue(state);
    if (const auto* stop = std::get_if<effect::StopSwitch>(&what)) {
      SwitchExit out;
      out.has_run = backs > 0 || (has_earlier && stop->unit.ends_with("-1"));
      if (!stop->unit.empty() && out.has_run) out.output = backs > 0 ? when_stopped : earlier;
      return EffectValue(out);
    }
    const auto* run = std::get_if<effect::RunSwitch>(&what);
    if (!run || run->action != effect::SwitchAction::kTest) return EffectValue(SwitchExit{0, ""});
    ++backs;
    const auto result = switches_back.empty() ? EffectValue(SwitchExit{0, ""}) : switches_back.front();
    if (switches_back.size() > 1) switches_back.erase(switches_back.begin());
    if (!result || *result) state.running = kOld;
    const auto* exit = result && *result ? std::get_if<SwitchExit>(&**result) : nullptr;
    if (exit && exit->exit_code == 0) state.leftovers.clear();
    return result;
  }

  Outcome go_back(Phase phase, const std::string& boot_id = "boot-1", const std::string& not_undone = "") {
    ActivationRecord record{.spec = {.deployment = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV"),
                                     .nonce = std::string(32, '0'),
                                     .profiles = {system_profile(kNew)}}};
    record.phase = phase;
    record.back_from = Phase::kChecking;
    record.not_undone = not_undone;
    record.times_driven_back = times_driven_back;
    record.before = {.running = kOld, .profile = kOld, .generation = 7, .boot_id = "boot-1"};
    record.before.etc = state.etc;
    state.boot_id = boot_id;
    Activation machine = Activation::recover(record, boot_id);
    TimePoint now{Millis(1000)};
    std::vector<ActivationInput> inputs;
    for (int turn = 0; turn < 2000 && !machine.is_finished(); ++turn) {
      const auto effects = machine.step(now, std::exchange(inputs, {}));
      for (const auto& effect : effects)
        if (auto result = perform(effect.what)) inputs.emplace_back(EffectEnded{effect.id, *result});
      if (inputs.empty() && machine.next_wakeup()) now = std::max(now, *machine.next_wakeup());
    }
    EXPECT_TRUE(machine.is_finished());
    return machine.record().outcome.value_or(Outcome::kUnknown);
  }
};

std::optional<Result<EffectValue>> ends(std::optional<int> code, const std::string& output) {
  return EffectValue(SwitchExit{code, output});
}

TEST(NotUndone, IsAReloadOfWhichNobodyCanTellBecauseTheLinesAreLost) {
  for (const std::optional<int> code : {std::optional(4), std::optional(101), std::optional<int>()}) {
    World world{.switches_back = {ends(code, ""), ends(0, "")}};
    EXPECT_EQ(world.go_back(Phase::kChecking), Outcome::kRollbackFailed);
  }
}

TEST(NotUndone, IsNothingWhereTheListOfReloadsIsStillThereForTheNextSwitch) {
  World world{.switches_back = {ends(101, ""), ends(0, "")}};
  world.state.leftovers = {"reload-list"};
  EXPECT_EQ(world.go_back(Phase::kChecking), Outcome::kRolledBack);
  EXPECT_EQ(world.backs, 2);
}

TEST(NotUndone, IsNothingWhereWhatRanWasTheRecordedSystemAlready) {
  World world{.switches_back = {ends(std::nullopt, ""), ends(0, "")}};
  world.state.running = kOld;
  EXPECT_EQ(world.go_back(Phase::kChecking), Outcome::kRolledBack);
}

TEST(NotUndone, IsAFailedReloadThoughTheSwitchWasKilledAfterIt) {
  World world{.switches_back = {ends(std::nullopt, kFailedReload), ends(0, "")}};
  EXPECT_EQ(world.go_back(Phase::kChecking), Outcome::kRollbackFailed);
}

TEST(NotUndone, IsAFailedReloadOfASwitchThatHangsBehindIt) {
  World world{.switches_back = {std::nullopt, ends(0, "")}, .when_stopped = kFailedReload};
  EXPECT_EQ(world.go_back(Phase::kChecking), Outcome::kRollbackFailed);
}

TEST(NotUndone, IsAFailedReloadThoughTheAgentDiedBeforeItSawIt) {
  World world{.earlier = kFailedReload, .has_earlier = true};
  EXPECT_EQ(world.go_back(Phase::kRollingBack), Outcome::kRollbackFailed);
}

// A full disk refused the journal, so it still says that the new system is being checked.
TEST(NotUndone, IsAFailedReloadThoughTheJournalKnowsOfNoWayBack) {
  World world{.earlier = kFailedReload, .has_earlier = true};
  EXPECT_EQ(world.go_back(Phase::kChecking), Outcome::kRollbackFailed);
}

TEST(NotUndone, IsWhatAnEarlierLifeDidAndNobodyCanTell) {
  World world{.has_earlier = true};
  world.state.running = kOld;
  EXPECT_EQ(world.go_back(Phase::kRollingBack), Outcome::kRollbackFailed);
}

// A full disk refused all that came after it.
TEST(NotUndone, IsAFailedReloadThoughTheJournalSaysThatTheSwitchForwardIsUnderWay) {
  World world{.earlier = kFailedReload, .has_earlier = true};
  world.state.running = kOld;
  EXPECT_EQ(world.go_back(Phase::kSwitching), Outcome::kRollbackFailed);
}

// Some hosts mount their /etc, and what runs moves last of all.
TEST(NotUndone, IsAllOfItWhereASwitchBackDidNothingAndNobodyCanSeeWhoseEtcItIs) {
  World world{.switches_back = {ends(std::nullopt, "")}};
  world.state.running = kOld;
  EXPECT_EQ(world.go_back(Phase::kChecking), Outcome::kRollbackFailed);
  EXPECT_EQ(world.backs, 2);
}

TEST(NotUndone, IsAnActivationThatMayHaveFailedInASwitchBackThatLeftNoWord) {
  World silent{.switches_back = {ends(101, "")}};
  World refused{.switches_back = {ends(1, "Pre-switch checks failed\n")}};
  for (World* world : {&silent, &refused}) {
    world->state.running = kOld;
    world->state.etc = "/nix/store/00000000000000000000000000000000-etc/etc";
  }
  EXPECT_EQ(silent.go_back(Phase::kChecking), Outcome::kRollbackFailed);
  EXPECT_EQ(refused.go_back(Phase::kChecking), Outcome::kRolledBack)
      << "it did nothing, and nothing was amiss";
}

// It ends the agent each time, and in the end there is only a look.
TEST(NotUndone, IsWhatNobodyCanTellAlsoWhereNothingMoreIsTried) {
  World world{.has_earlier = true, .times_driven_back = 10};
  world.state.running = kOld;
  EXPECT_EQ(world.go_back(Phase::kRollingBack), Outcome::kRollbackFailed);
  EXPECT_EQ(world.backs, 0);
}

TEST(NotUndone, IsForgottenWithAReboot) {
  World world;
  world.state.running = kOld;
  EXPECT_EQ(world.go_back(Phase::kRollingBack, "boot-2", "the reload of rel.service failed"),
            Outcome::kRolledBack);
}

// It may have been broken off, or its activation script have failed: what runs says nothing of that.
TEST(NotUndone, ASwitchBackOfAnEarlierLifeInThisBootIsDoneAgain) {
  World world{.earlier = "activating the configuration...\n", .has_earlier = true};
  world.state.running = kOld;
  EXPECT_EQ(world.go_back(Phase::kRollingBack, "boot-2"), Outcome::kRolledBack);
  EXPECT_EQ(world.backs, 1);
}

TEST(NotUndone, IsAnActivationThatFailedThoughTheSecondSwitchCannotBeStarted) {
  World world{.switches_back = {ends(2, "activating the configuration...\n"),
                                Result<EffectValue>(Error{ErrorKind::kFailed, "no unit"})}};
  EXPECT_EQ(world.go_back(Phase::kChecking), Outcome::kRollbackFailed);
}

}  // namespace
}  // namespace flurry
