#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "core/activation.h"

// Another hand on the host, and a way back that meets what a broken-off switch has left.

namespace flurry {
namespace {

const StorePath kOld = *StorePath::parse("/nix/store/00000000000000000000000000000000-old");
const StorePath kNew = *StorePath::parse("/nix/store/11111111111111111111111111111111-new");
const StorePath kThird = *StorePath::parse("/nix/store/22222222222222222222222222222222-third");
const std::string kOldEtc = "/nix/store/00000000000000000000000000000000-etc/etc";
const std::string kNewEtc = "/nix/store/11111111111111111111111111111111-etc/etc";

// A host that runs the new system, whose confirmation didn't come.
struct World {
  SystemState state = [] {
    SystemState out{.running = kNew, .profile = kOld, .generation = 7, .boot_id = "boot-1"};
    out.etc = kNewEtc;
    out.boot_default = kOld;
    return out;
  }();
  // What each switch back does; the last one repeats.
  std::vector<std::function<SwitchExit(SystemState&)>> switches_back = {[](SystemState& now) {
    now.running = kOld;
    now.etc = kOldEtc;
    now.missing_units.clear();
    return SwitchExit{0, ""};
  }};
  std::vector<std::string> calls;
  std::vector<std::string> started;
  bool does_start_help = true;
  TimePoint clock{Millis(1000)};

  Result<EffectValue> perform(const effect::Any& what) {
    if (std::holds_alternative<effect::ReadState>(what)) return EffectValue(state);
    if (std::holds_alternative<effect::ClearLeftovers>(what)) {
      calls.emplace_back("clear");
      state.leftovers.clear();
    }
    if (const auto* start = std::get_if<effect::StartUnits>(&what)) {
      started = start->units;
      if (does_start_help) state.missing_units.clear();
    }
    if (std::holds_alternative<effect::RestoreProfile>(what)) {
      calls.emplace_back("restore-profile");
      state.profile = kOld;
    }
    if (const auto* run = std::get_if<effect::RunSwitch>(&what)) {
      if (run->action == effect::SwitchAction::kBoot) {
        calls.emplace_back("boot");
        state.boot_default = run->closure;
        return EffectValue(SwitchExit{0, ""});
      }
      calls.emplace_back("back");
      EXPECT_EQ(run->closure, kOld);
      const auto behaves = switches_back.front();
      if (switches_back.size() > 1) switches_back.erase(switches_back.begin());
      return EffectValue(behaves(state));
    }
    return EffectValue{};
  }

  ActivationRecord finish(Phase phase = Phase::kAwaitingConfirmation) {
    ActivationRecord record{.spec = {.deployment = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV"),
                                     .nonce = std::string(32, '0'),
                                     .profiles = {system_profile(kNew)}}};
    record.spec.profiles[0].etc = kNewEtc;
    record.phase = phase;
    record.before = {.running = kOld, .profile = kOld, .generation = 7, .boot_id = "boot-1"};
    record.before.etc = kOldEtc;
    record.before.boot_default = kOld;
    record.before.failed_units = {"broken.service"};
    Activation machine = Activation::recover(record, "boot-1");
    std::vector<ActivationInput> inputs;
    for (int turn = 0; turn < 2000 && !machine.is_finished(); ++turn) {
      const auto effects = machine.step(clock, std::exchange(inputs, {}));
      for (const auto& effect : effects) inputs.emplace_back(EffectEnded{effect.id, perform(effect.what)});
      if (inputs.empty() && machine.next_wakeup()) clock = std::max(clock, *machine.next_wakeup());
    }
    EXPECT_TRUE(machine.is_finished());
    return machine.record();
  }
  long backs() const { return std::count(calls.begin(), calls.end(), "back"); }
};

std::function<SwitchExit(SystemState&)> good_switch_that_says(int code, const std::string& output) {
  return [code, output](SystemState& now) {
    now.running = kOld;
    now.etc = kOldEtc;
    return SwitchExit{code, output};
  };
}

TEST(Superseded, IsAHostThatSomebodyElseSwitchedToAThirdSystem) {
  World world;
  world.state.running = kThird;
  const auto record = world.finish();
  EXPECT_EQ(record.outcome, Outcome::kSuperseded);
  EXPECT_NE(record.reason.find(kThird.str()), std::string::npos) << record.reason;
  EXPECT_TRUE(world.calls.empty()) << "what somebody else has made of it is left alone";
}

TEST(Superseded, SaysWhereItCouldNotBeReadWhatWouldBoot) {
  World world;
  world.state.running = kThird;
  EXPECT_NE(world.finish().reason.find("it would boot " + kOld.str()), std::string::npos);
  World grub;
  grub.state.running = kThird;
  grub.state.boot_default.reset();
  const std::string reason = grub.finish().reason;
  EXPECT_NE(reason.find("what its boot loader would start can't be read"), std::string::npos) << reason;
}

TEST(Superseded, IsAHostWhoseProfileNamesAThirdSystemAndThatStays) {
  World world;
  world.state.profile = kThird;
  world.state.boot_default = kThird;
  const auto record = world.finish();
  EXPECT_EQ(record.outcome, Outcome::kSuperseded);
  EXPECT_EQ(world.state.running, kOld) << "what nobody confirmed doesn't stay";
  EXPECT_EQ(world.state.profile, kThird);
  EXPECT_EQ(world.state.boot_default, kThird);
}

TEST(Superseded, IsNoHostWhereSomebodyElseCommittedTheReleaseUnderWay) {
  World world;
  world.state.profile = kNew;
  world.state.boot_default = kNew;
  EXPECT_EQ(world.finish().outcome, Outcome::kRolledBack);
  EXPECT_EQ(world.state.profile, kOld);
  EXPECT_EQ(world.state.boot_default, kOld);
}

TEST(WayBack, OfABootDefaultThatSomebodyElseInstalledAlone) {
  World world;
  world.state.boot_default = kNew;
  EXPECT_EQ(world.finish().outcome, Outcome::kRolledBack);
  EXPECT_EQ(world.state.boot_default, kOld);
}

TEST(WayBack, IsNoneWhereEtcIsStillTheNewSystems) {
  World world;
  world.switches_back = {[](SystemState& now) {
    now.running = kOld;
    return SwitchExit{0, ""};
  }};
  EXPECT_EQ(world.finish().outcome, Outcome::kRollbackFailed);
}

TEST(WayBack, IsTriedAgainUntilALockComesFree) {
  World world;
  int tries = 0;
  world.switches_back = {[&](SystemState& now) {
    now.is_switch_locked = ++tries < 20;
    if (now.is_switch_locked) return SwitchExit{11, "Could not acquire lock\n"};
    now.running = kOld;
    now.etc = kOldEtc;
    return SwitchExit{0, ""};
  }};
  EXPECT_EQ(world.finish().outcome, Outcome::kRolledBack);
  EXPECT_EQ(tries, 20);
}

// Units may run the new configuration where nothing that can be read shows it.
TEST(WayBack, ThatALockRefusesIsTriedAgainThoughTheHostLooksAsItDid) {
  World world;
  world.state.running = kOld;
  world.state.etc = kOldEtc;
  int tries = 0;
  world.switches_back = {[&](SystemState& now) {
    now.is_switch_locked = ++tries < 5;
    return now.is_switch_locked ? SwitchExit{11, "Could not acquire lock\n"} : SwitchExit{0, ""};
  }};
  EXPECT_EQ(world.finish().outcome, Outcome::kRolledBack);
  EXPECT_EQ(tries, 5);
}

TEST(WayBack, ThatALockRefusedIsTriedAgainThoughItIsFreeWhenItIsLookedAt) {
  World world;
  world.state.running = kOld;
  world.state.etc = kOldEtc;
  int tries = 0;
  world.switches_back = {[&](SystemState&) {
    return ++tries == 1 ? SwitchExit{11, "Could not acquire lock\n"} : SwitchExit{0, ""};
  }};
  EXPECT_EQ(world.finish().outcome, Outcome::kRolledBack);
  EXPECT_EQ(tries, 2);
}

TEST(WayBack, ThatALockNeverAllowsIsAFailureAndSaysWhy) {
  World world;
  world.switches_back = {[](SystemState& now) {
    now.is_switch_locked = true;
    return SwitchExit{11, "Could not acquire lock\n"};
  }};
  const auto record = world.finish();
  EXPECT_EQ(record.outcome, Outcome::kRollbackFailed);
  EXPECT_NE(record.reason.find("lock"), std::string::npos) << record.reason;
}

TEST(WayBack, WhoseReloadFailsIsNoneThoughTheNextSwitchFindsNothingToReload) {
  World world;
  world.switches_back = {
      good_switch_that_says(4, "activating the configuration...\nFailed to reload rel.service\n"),
      good_switch_that_says(0, "")};
  const auto record = world.finish();
  EXPECT_EQ(record.outcome, Outcome::kRollbackFailed);
  EXPECT_NE(record.reason.find("rel.service"), std::string::npos) << record.reason;
}

TEST(WayBack, WhoseActivationScriptFailsIsNoneUnlessItGoesWellTheNextTime) {
  World world;
  world.switches_back = {
      good_switch_that_says(2, "activating the configuration...\nFailed to run activate script\n")};
  EXPECT_EQ(world.finish().outcome, Outcome::kRollbackFailed);
  World mended;
  mended.switches_back = {good_switch_that_says(2, "activating the configuration...\n"),
                          good_switch_that_says(0, "")};
  EXPECT_EQ(mended.finish().outcome, Outcome::kRolledBack);
}

TEST(WayBack, ForgivesWhatHadFailedBefore) {
  World world;
  world.switches_back = {good_switch_that_says(
      4, "activating the configuration...\nwarning: the following units failed: broken.service\n")};
  world.state.failed_units = {"broken.service"};
  EXPECT_EQ(world.finish().outcome, Outcome::kRolledBack);
  EXPECT_EQ(world.backs(), 1);
}

TEST(WayBack, ClearsTheListsAtWhichEverySwitchWouldStop) {
  World world;
  world.state.leftovers = {"reload-list"};
  world.switches_back = {[](SystemState& now) {
    if (!now.leftovers.empty()) return SwitchExit{1, "activating the configuration...\n"};
    now.running = kOld;
    now.etc = kOldEtc;
    return SwitchExit{0, ""};
  }};
  EXPECT_EQ(world.finish().outcome, Outcome::kRolledBack);
  EXPECT_EQ(world.calls, (std::vector<std::string>{"back", "clear", "back"}));
}

TEST(WayBack, StartsAUnitThatSomebodyHadStartedByHandAndTheReleaseRemoved) {
  World world;
  world.switches_back = {good_switch_that_says(0, "")};
  world.state.missing_units = {{"by-hand.service", MissingUnit::State::kInactive, false, true}};
  EXPECT_EQ(world.finish().outcome, Outcome::kRolledBack);
  EXPECT_EQ(world.started, std::vector<std::string>{"by-hand.service"});
}

TEST(WayBack, ThatLosesAUnitForGoodIsAFailureThatNamesIt) {
  World world;
  world.does_start_help = false;
  world.switches_back = {good_switch_that_says(0, "")};
  world.state.missing_units = {{"web.service", MissingUnit::State::kInactive}};
  const auto record = world.finish();
  EXPECT_EQ(record.outcome, Outcome::kRollbackFailed);
  EXPECT_NE(record.reason.find("web.service"), std::string::npos) << record.reason;
}

TEST(WayBack, IsNotVerifiedWhileJobsWait) {
  World world;
  world.switches_back = {good_switch_that_says(0, "")};
  world.state.jobs = {{"keep.service", "start", true}};
  EXPECT_EQ(world.finish().outcome, Outcome::kRollbackFailed);
}

TEST(WayBack, IsNoneWhereUnitsFailThatHadNotFailedBefore) {
  World world;
  world.switches_back = {good_switch_that_says(0, "")};
  world.state.failed_units = {"broken.service", "db.service"};
  const auto record = world.finish();
  EXPECT_EQ(record.outcome, Outcome::kRollbackFailed);
  EXPECT_NE(record.reason.find("db.service"), std::string::npos) << record.reason;
}

TEST(WayBack, OfWhatHasCommittedChecksTheBootLoadersOwnWord) {
  World world;
  world.state.profile = kNew;
  world.state.boot_default = kNew;
  world.state.running = kThird;
  EXPECT_EQ(world.finish(Phase::kProfileSet).outcome, Outcome::kSuperseded);
}

}  // namespace
}  // namespace flurry
