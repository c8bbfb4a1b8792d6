#include "core/switch_verdict.h"

#include <gtest/gtest.h>

namespace flurry {
namespace {

using Kind = SwitchVerdict::Kind;
using Names = std::vector<std::string>;
using State = MissingUnit::State;

const StorePath kOld = *StorePath::parse("/nix/store/00000000000000000000000000000000-old");
const StorePath kNew = *StorePath::parse("/nix/store/11111111111111111111111111111111-new");
const std::string kOldEtc = "/nix/store/00000000000000000000000000000000-etc/etc";
const std::string kNewEtc = "/nix/store/11111111111111111111111111111111-etc/etc";

SystemState old_state() {
  SystemState state{.running = kOld, .profile = kOld, .boot_id = "boot"};
  state.etc = kOldEtc;
  return state;
}

SystemState new_state() {
  SystemState state = old_state();
  state.running = kNew;
  state.etc = kNewEtc;
  return state;
}

SwitchRun run_of(std::optional<int> code, const std::string& output = "activating the configuration...\n") {
  return {code, "", !output.empty(), parse_switch_report(output), true};
}

SwitchVerdict forward(const SwitchRun& run, const SystemState& now, const SystemState& before = old_state()) {
  return judge_switch(run, before, now, {kNew, kNewEtc}, Direction::kForward);
}

SystemState with_missing(SystemState state, std::vector<MissingUnit> units) {
  state.missing_units = std::move(units);
  return state;
}

// --- what went well
// -----------------------------------------------------------------------------------------

TEST(SwitchVerdict, OfAnExitZeroIsWellWhereTheNewSystemRunsAndItsEtcIsThere) {
  EXPECT_EQ(forward(run_of(0), new_state()).kind, Kind::kWell);
}

TEST(SwitchVerdict, OfAnExitZeroIsAFailureWhereSomethingElseRuns) {
  EXPECT_EQ(forward(run_of(0), old_state()).kind, Kind::kFailed);
  SystemState half = new_state();
  half.etc = kOldEtc;
  EXPECT_EQ(forward(run_of(0), half).kind, Kind::kFailed);
}

TEST(SwitchVerdict, AsksForNoEtcOfAHostThatMountsIt) {
  SystemState before = old_state();
  before.etc.reset();
  SystemState now = new_state();
  now.etc.reset();
  EXPECT_EQ(forward(run_of(0), now, before).kind, Kind::kWell);
}

TEST(SwitchVerdict, ForgivesAFailureOfUnitsThatHadFailedBefore) {
  SystemState before = old_state();
  before.failed_units = {"broken.service"};
  SystemState now = new_state();
  now.failed_units = {"broken.service"};
  const auto run = run_of(4,
                          "activating the configuration...\nFailed to start broken.service\n"
                          "warning: the following units failed: broken.service\n");
  EXPECT_EQ(forward(run, now, before).kind, Kind::kWell);
}

TEST(SwitchVerdict, LeavesAUnitThatFailedAfterItsStartToTheHealthChecks) {
  SystemState now = new_state();
  now.failed_units = {"flapping.service"};
  now.unit_states = {{"flapping.service", "activating"}, {"late.service", "failed"}};
  const auto run =
      run_of(4,
             "activating the configuration...\nFailed to start flapping.service\n"
             "Failed to start late.service\nwarning: the following units failed: flapping.service\n");
  EXPECT_EQ(forward(run, now).kind, Kind::kWell);
  EXPECT_EQ(unwell_units(old_state(), now, FailedUnits::kNew), Names{"flapping.service"});
}

// --- exit 4
// -------------------------------------------------------------------------------------------------

TEST(SwitchVerdict, KnowsAFailedActivationThatALaterFailureOfAUnitHides) {
  SystemState before = old_state();
  before.failed_units = {"broken.service"};
  SystemState now = new_state();
  now.failed_units = {"broken.service"};
  const auto run = run_of(4,
                          "activating the configuration...\nFailed to run activate script\n"
                          "warning: the following units failed: broken.service\n");
  const auto verdict = forward(run, now, before);
  EXPECT_EQ(verdict.kind, Kind::kFailed);
  EXPECT_NE(verdict.why.find("the activation script failed"), std::string::npos) << verdict.why;
}

TEST(SwitchVerdict, DoubtsAnExitFourOfAProgramThatWouldNotTellOfAFailedActivation) {
  SystemState before = old_state();
  before.failed_units = {"broken.service"};
  auto run = run_of(4, "warning: the following units failed: broken.service\n");
  EXPECT_EQ(forward(run, new_state(), before).kind, Kind::kWell);
  run.tells_failed_activation = false;
  EXPECT_EQ(forward(run, new_state(), before).kind, Kind::kFailed);
}

TEST(SwitchVerdict, OfAnExitFourThatNoLineExplainsIsAFailure) {
  const auto verdict = forward(run_of(4), new_state());
  EXPECT_EQ(verdict.kind, Kind::kFailed);
  EXPECT_NE(verdict.why.find("did not say why"), std::string::npos) << verdict.why;
}

TEST(SwitchVerdict, CountsFailedReloadsStopsAndUsersThoughNoUnitIsInFailedState) {
  for (const char* line :
       {"Failed to reload rel.service", "Failed to stop mnt-f.mount",
        "warning: user activation for alice failed",
        "Failed to restart sysinit-reactivation.target: not found", "Failed to start dep.service"}) {
    const auto verdict =
        forward(run_of(4, std::string("activating the configuration...\n") + line + "\n"), new_state());
    EXPECT_EQ(verdict.kind, Kind::kFailed) << line;
  }
}

TEST(SwitchVerdict, CountsAFailedStartNotWhereTheUnitIsActiveAfterAll) {
  SystemState now = new_state();
  now.unit_states = {{"slow.service", "active"}};
  EXPECT_EQ(forward(run_of(4, "Failed to start slow.service\n"), now).kind, Kind::kWell);
}

// --- broken off
// ---------------------------------------------------------------------------------------------

TEST(SwitchVerdict, OfARefusalIsUntouchedWhateverItsCode) {
  for (const int code : {1, 2, 11, 17, 22, 100}) {
    const auto verdict = forward(run_of(code, "This is not a NixOS installation!\n"), old_state());
    EXPECT_EQ(verdict.kind, Kind::kUntouched) << code;
  }
}

TEST(SwitchVerdict, OfARefusalIsAFailureWhereAnythingShowsThatItHadBegun) {
  SystemState etc_moved = old_state();
  etc_moved.etc = kNewEtc;
  SystemState list_left = old_state();
  list_left.leftovers = {"restart-list"};
  SystemState job_waits = old_state();
  job_waits.jobs = {{"keep.service", "start", true}};
  const SystemState stopped = with_missing(old_state(), {{"web.service"}});
  for (const auto& now : {new_state(), etc_moved, list_left, job_waits, stopped})
    for (const int code : {1, 2, 11, 100})
      EXPECT_EQ(forward(run_of(code, "some words\n"), now).kind, Kind::kFailed) << code;
}

TEST(SwitchVerdict, OfASwitchThatSaidItHadBegunIsNeverUntouched) {
  EXPECT_EQ(forward(run_of(1, "stopping the following units: web.service\n"), old_state()).kind,
            Kind::kFailed);
}

// 2 is what a failed activation exits with, and the errno of a file that is missing.
TEST(SwitchVerdict, DoubtsAnExitTwoWithoutAWord) {
  EXPECT_EQ(forward(run_of(2, ""), old_state()).kind, Kind::kFailed);
}

// Its activation may have come as far as /etc, which nothing shows there.
TEST(SwitchVerdict, DoubtsAnyRefusalWithoutAWordWhereEtcCantBeSeen) {
  SystemState mounts_etc = old_state();
  mounts_etc.etc.reset();
  const auto judged = [&](const SwitchRun& run, const SystemState& host) {
    return judge_switch(run, host, host, {*new_state().running, std::nullopt}, Direction::kForward).kind;
  };
  EXPECT_EQ(judged(run_of(101, ""), mounts_etc), Kind::kFailed);
  EXPECT_EQ(judged(run_of(101, "some words\n"), mounts_etc), Kind::kUntouched);
  EXPECT_EQ(judged(run_of(101, ""), old_state()), Kind::kUntouched);
}

TEST(SwitchVerdict, NamesTheUnitsThatABrokenOffSwitchStopped) {
  const auto verdict = forward(run_of(1, "stopping the following units: web.service\n"),
                               with_missing(old_state(), {{"web.service"}}));
  EXPECT_NE(verdict.why.find("web.service (was active, is inactive)"), std::string::npos) << verdict.why;
}

TEST(SwitchVerdict, CountsListsThatASwitchLeft) {
  SystemState now = new_state();
  now.leftovers = {"reload-list"};
  EXPECT_EQ(forward(run_of(0), now).kind, Kind::kFailed);
}

// --- jobs
// ---------------------------------------------------------------------------------------------------

TEST(SwitchVerdict, WaitsForJobsOfTheSwitchAndOfChangedUnitsOnly) {
  SystemState before = old_state();
  before.jobs = {{"two-hours.service", "start"}};
  SystemState now = new_state();
  now.jobs = {{"two-hours.service", "start"}, {"backup.service", "start"}};  // a timer's, meanwhile
  EXPECT_EQ(forward(run_of(0), now, before).kind, Kind::kWell);
  now.jobs = {{"app.service", "start"}};
  EXPECT_EQ(forward(run_of(0, "starting the following units: app.service\n"), now, before).kind,
            Kind::kWaiting);
  now.jobs = {{"changed.service", "stop", true}};
  EXPECT_EQ(forward(run_of(0), now, before).kind, Kind::kWaiting);
}

// --- units
// --------------------------------------------------------------------------------------------------

TEST(LostUnits, AreThoseThatFailedOrAreInactiveAndHadNoReasonToEnd) {
  const auto now = with_missing(new_state(), {{"app.service", State::kInactive},
                                              {"db.service", State::kFailed},
                                              {"backup.service", State::kInactive, true, true},
                                              {"bus.service", State::kInactive, false, true}});
  EXPECT_EQ(lost_units(now, Direction::kForward),
            (Names{"app.service (was active, is inactive)", "db.service (was active, has failed)",
                   "bus.service (was active, is inactive)"}));
}

TEST(LostUnits, AreNotThoseThatTheReleaseRemovesButOnTheWayBackTheyAre) {
  const auto now = with_missing(new_state(), {{"old.service", State::kRemoved}});
  EXPECT_TRUE(lost_units(now, Direction::kForward).empty());
  EXPECT_EQ(lost_units(now, Direction::kBack), Names{"old.service (was active, is gone)"});
}

TEST(UnwellUnits, CountFailuresByThePolicyAndLossesByAny) {
  SystemState before = old_state();
  before.failed_units = {"broken.service"};
  SystemState now =
      with_missing(new_state(), {{"app.service", State::kInactive}, {"db.service", State::kFailed}});
  now.failed_units = {"broken.service", "db.service"};
  const std::string lost = "app.service (was active, is inactive)";
  EXPECT_EQ(unwell_units(before, now, FailedUnits::kNew), (Names{"db.service", lost}));
  EXPECT_EQ(unwell_units(before, now, FailedUnits::kAny), (Names{"broken.service", "db.service", lost}));
  EXPECT_EQ(unwell_units(before, now, FailedUnits::kIgnore), Names{lost});
}

TEST(NewlyFailed, LeavesOutFlurrysOwnUnitsByTheirExactNamesOnly) {
  const std::string id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  const Names own = {"flurry-agent.service", "flurry-switch-" + id + ".service",
                     "flurry-restore-" + id + "-2-1.service", "flurry-deadman-" + id + ".service"};
  const Names others = {"flurry-shop.service", "flurry-switch-shop.service", "flurry-agent@1.service",
                        "flurry-sale-" + id + ".service"};
  Names all = own;
  all.insert(all.end(), others.begin(), others.end());
  EXPECT_EQ(newly_failed(all, {}), others);
}

TEST(HalfSwitched, IsAHostWhoseEtcIsNotOfWhatRunsOrWhereListsWereLeft) {
  EXPECT_EQ(half_switched(old_state(), kOldEtc), "");
  EXPECT_NE(half_switched(old_state(), kNewEtc), "");
  SystemState left = old_state();
  left.leftovers = {"start-list"};
  EXPECT_NE(half_switched(left, kOldEtc).find("start-list"), std::string::npos);
  EXPECT_EQ(half_switched(SystemState{}, kOldEtc), "") << "a host without /etc/static";
}

}  // namespace
}  // namespace flurry
