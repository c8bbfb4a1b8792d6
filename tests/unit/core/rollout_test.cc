#include "tests/unit/core/rollout_world.h"

namespace flurry {
namespace {

TEST(Rollout, TakesEveryHostFromPreflightToCommit) {
  World world(3);
  for (const auto& result : world.run()) {
    EXPECT_EQ(result.outcome, Outcome::kSucceeded);
    EXPECT_EQ(result.from_path, path('1').str());
    EXPECT_EQ(result.to_path, path('2').str());
  }
  EXPECT_EQ(world.code, 0);
}

TEST(Rollout, TouchesNothingOnAHostThatRunsAndCommittedTheClosure) {
  World world(1);
  world.facts[0] = {.state = {.running = path('2'), .profile = path('2')}};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kUnchanged);
  EXPECT_FALSE(world.did("h1 build"));
  EXPECT_FALSE(world.did("h1 begin"));
}

TEST(Rollout, DeploysAgainWhenTheClosureRunsButWasNeverCommitted) {
  World world(1);
  world.facts[0] = {.state = {.running = path('2'), .profile = path('1')}};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kSucceeded);
  EXPECT_TRUE(world.did("h1 begin"));
}

TEST(Rollout, CopiesWithTheHelpOfWhatTheHostRunsAndWhatItsProfileNames) {
  World world(1);
  world.facts[0] = {.state = {.running = path('3'), .profile = path('1')}};
  world.run();
  EXPECT_EQ(world.bases, (std::vector{path('3'), path('1')}));
}

TEST(Rollout, LetsAHostFailAlone) {
  World world(5);
  world.connect_fails[0] = {ErrorKind::kUnreachable, "no route"};
  world.evaluate_fails[1] = {ErrorKind::kFailed, "attribute missing"};
  world.build_fails[2] = {ErrorKind::kFailed, "gcc died"};
  world.copy_fails[3] = {ErrorKind::kNoSpace, "disk full"};
  const auto results = world.run();
  const Stage stages[] = {Stage::kPreflight, Stage::kEvaluate, Stage::kBuild, Stage::kCopy};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(results[i].outcome, Outcome::kFailedUnchanged);
    EXPECT_EQ(results[i].stage, stages[i]);
  }
  EXPECT_EQ(results[4].outcome, Outcome::kSucceeded);
  EXPECT_EQ(world.code, 3);
}

TEST(Rollout, NeverBuildsForAHostThatCannotBeReached) {
  World world(1);
  world.connect_fails[0] = {ErrorKind::kUnreachable, "no route"};
  world.run();
  EXPECT_FALSE(world.did("h1 build"));
}

// Trap 23.
TEST(Rollout, BuildsNothingForAHostThatHasNothingToGoBackTo) {
  World world(1);
  world.facts[0] = {.state = {.generation = 1}};
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kFailedUnchanged);
  EXPECT_EQ(results[0].stage, Stage::kPreflight);
  EXPECT_NE(results[0].reason.find("--allow-no-rollback"), std::string::npos);
  EXPECT_FALSE(world.did("h1 build"));
}

TEST(Rollout, DeploysToAHostThatHasNothingToGoBackToWhenToldTo) {
  World world(1);
  world.facts[0] = {.state = {.generation = 1}};
  world.options_.allow_no_rollback = true;
  EXPECT_EQ(world.run()[0].outcome, Outcome::kSucceeded);
}

TEST(Rollout, NeedsNoWayBackWhereNothingIsSwitched) {
  for (const Goal goal : {Goal::kPush, Goal::kBuild}) {
    World world(1);
    world.facts[0] = {.state = {.generation = 1}};
    world.options_.goal = goal;
    EXPECT_EQ(world.run()[0].outcome, Outcome::kStaged) << to_string(goal);
  }
}

TEST(Rollout, APlanAsksWhatACopyWouldTakeAndEndsThere) {
  World world(1);
  world.options_.goal = Goal::kPush;
  world.options_.only_plan = true;
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kStaged);
  EXPECT_NE(results[0].reason.find("nothing was changed"), std::string::npos) << results[0].reason;
  EXPECT_TRUE(world.only_estimated);
}

TEST(Rollout, APlanTellsOfEachProfileThatChangesAndOfNoOther) {
  World world(1);
  world.options_.goal = Goal::kPush;
  world.options_.only_plan = true;
  const ProfileRef system{"system", "root", "/nix/var/nix/profiles/system"};
  const ProfileRef home{"home", "ann", ""};
  world.derivations[0] = {{{system, path('a'), path('1')}, {home, path('b'), path('2')}}};
  HostFacts facts;
  facts.system = "x86_64-linux";
  facts.state.running = facts.state.boot_default = facts.state.profile = path('1');
  facts.state.user_profiles["home"] = {.path = path('3')};
  world.facts[0] = facts;
  EXPECT_EQ(world.run()[0].reason, "profile home would go from " + path('3').str() + " to " +
                                       path('2').str() + "; nothing was changed");
}

TEST(Rollout, SkipsAnOfflineHostThatMayBeOffline) {
  World world(2);
  world.hosts_[0].allow_offline = true;
  world.connect_fails[0] = {ErrorKind::kUnreachable, "no route"};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kSkipped);
  EXPECT_EQ(world.code, 6);
}

TEST(Rollout, FailsAHostThatRefusesTheLoginEvenWhereItMayBeOffline) {
  World world(1);
  world.hosts_[0].allow_offline = true;
  world.connect_fails[0] = {ErrorKind::kRefused, "host key changed"};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kFailedUnchanged);
}

TEST(Rollout, RefusesAHostThatAnotherDeploymentHolds) {
  World world(1);
  world.facts[0] = {.held_by = "01X of bob"};
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kFailedUnchanged);
  EXPECT_NE(results[0].reason.find("01X of bob"), std::string::npos);
}

TEST(Rollout, ReportsWhatTheAgentSaysHappened) {
  for (const Outcome outcome : {Outcome::kRolledBack, Outcome::kRollbackFailed, Outcome::kFailedUnchanged}) {
    World world(1);
    world.views[0] = {ActionValue(ended(outcome, "because"))};
    const auto results = world.run();
    EXPECT_EQ(results[0].outcome, outcome);
    EXPECT_EQ(results[0].reason, "because");
  }
}

TEST(Rollout, LooksForTheHostAgainWhenTheConnectionIsLost) {
  World world(1);
  world.views[0] = {Error{ErrorKind::kUnreachable, "reset"}, Error{ErrorKind::kUnreachable, "no route"},
                    ActionValue(ended(Outcome::kRolledBack))};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kRolledBack);
  EXPECT_TRUE(world.did("h1 reattach"));
}

TEST(Rollout, CallsAHostUnknownThatNeverComesBack) {
  World world(1);
  for (int i = 0; i < 5000; ++i) world.views[0].push_back(Error{ErrorKind::kUnreachable, "no route"});
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kUnknown);
  EXPECT_EQ(world.code, 5);
}

TEST(Rollout, KnowsThatNothingHappenedWhenTheAgentNeverHeardOfTheDeployment) {
  World world(1);
  world.begin_fails[0] = {ErrorKind::kUnreachable, "reset"};
  world.views[0] = {ActionValue(AgentView{.known = false})};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kFailedUnchanged);
}

TEST(Rollout, TellsTheStageInWhichTheHostTurnedBackEvenIfItWasCutOffLongBefore) {
  World world(1);
  AgentView view = ended(Outcome::kRolledBack, "no confirmation");
  view.back_from = Phase::kAwaitingConfirmation;
  world.views[0] = {ActionValue(AgentView{.known = true, .revision = 1, .phase = Phase::kSwitching}),
                    ActionValue(view)};
  EXPECT_EQ(world.run()[0].stage, Stage::kConfirm);
}

// Trap 9.
TEST(Rollout, ConfirmsAgainWhenTheAnswerToAConfirmationWasLost) {
  World world(1);
  const AgentView awaiting{.known = true, .revision = 1, .phase = Phase::kAwaitingConfirmation};
  world.views[0] = {ActionValue(awaiting), Error{ErrorKind::kTimedOut, "no answer"}};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kSucceeded);
  EXPECT_EQ(std::count(world.log.begin(), world.log.end(), "h1 confirm"), 2);
}

TEST(Rollout, FollowsABeginWhoseAnswerWasLost) {
  World world(1);
  world.begin_fails[0] = {ErrorKind::kTimedOut, "no answer"};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kSucceeded);
}

TEST(Rollout, KeepsToItsParallelism) {
  World world(20);
  world.parallel_ = 3;
  world.run();
  EXPECT_EQ(world.most_under_way, 3u);
}

TEST(Rollout, StartsAHostAfterThoseItRequires) {
  World world(2);
  world.hosts_[0].requires_hosts = {world.hosts_[1].name};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kSucceeded);
  const auto at = [&](const char* entry) { return std::find(world.log.begin(), world.log.end(), entry); };
  EXPECT_LT(at("h2 confirm"), at("h1 build"));
}

TEST(Rollout, SkipsAHostWhoseRequirementFailed) {
  World world(2);
  world.hosts_[0].requires_hosts = {world.hosts_[1].name};
  world.views[1] = {ActionValue(ended(Outcome::kRolledBack))};
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kSkipped);
  EXPECT_EQ(world.code, 4);
}

TEST(Rollout, StartsNothingNewAfterTheFirstInterruptAndFinishesWhatRuns) {
  World world(4);
  world.parallel_ = 1;
  world.interrupts[6] = 1;
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kSucceeded);
  for (size_t i = 1; i < 4; ++i) EXPECT_EQ(results[i].outcome, Outcome::kSkipped);
  EXPECT_EQ(world.code, 6) << "something was switched, so it is what is left that counts";
}

TEST(Rollout, CallsWhatRunsUnknownAfterTheSecondInterrupt) {
  World world(1);
  for (int i = 0; i < 50; ++i)
    world.views[0].push_back(
        ActionValue(AgentView{.known = true, .revision = 1, .phase = Phase::kSwitching}));
  world.interrupts[8] = 2;
  EXPECT_EQ(world.run()[0].outcome, Outcome::kUnknown);
}

TEST(Rollout, StopsAtTheGoal) {
  World build(1);
  build.options_.goal = Goal::kBuild;
  EXPECT_EQ(build.run()[0].outcome, Outcome::kStaged);
  EXPECT_FALSE(build.did("h1 connect"));
  World push(1);
  push.options_.goal = Goal::kPush;
  EXPECT_EQ(push.run()[0].outcome, Outcome::kStaged);
  EXPECT_TRUE(push.did("h1 copy"));
  EXPECT_FALSE(push.did("h1 begin"));
}

TEST(Rollout, GoesToAFixedSystemWithoutEvaluatingOrCopying) {
  World world(1);
  world.tickets_[0].fixed = {{system_profile(path('3')), path('3'), 4}};
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kSucceeded);
  EXPECT_EQ(results[0].to_path, path('3').str());
  EXPECT_FALSE(world.did("h1 evaluate"));
  EXPECT_FALSE(world.did("h1 copy"));
}

TEST(Rollout, GoesToFixedProfilesOfUsersAndLeavesTheSystemAlone) {
  World world(1);
  const ProfileRef home{"home", "alice", ""};
  world.tickets_[0].fixed = {{home, path('3'), 4}};
  world.facts[0] = {.state = {.user_profiles = {{"home", {path('4'), 5}}}}};
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kSucceeded) << "no running system is needed: " << results[0].reason;
  EXPECT_EQ(results[0].from_path, path('4').str());
  EXPECT_EQ(results[0].to_path, path('3').str());
}

TEST(Rollout, AProfileThatWasNeverActivatedIsNotUnchanged) {
  World world(1);
  world.tickets_[0].fixed = {{{"home", "alice", ""}, path('3'), 4}};
  world.facts[0] = {.state = {.user_profiles = {{"home", {path('3'), 5}}}}};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kUnchanged);
  world.facts[0].state.user_profiles["home"].is_activated = false;
  EXPECT_EQ(world.run()[0].outcome, Outcome::kSucceeded);
}

TEST(Rollout, AUserThatTheHostLacksIsToldBeforeAnythingIsBuilt) {
  World world(1);
  world.hosts_[0].profiles["home"] = {.user = "alice", .has_path = true};
  world.facts[0] = {.state = {.running = path('1')}, .unknown_users = {"alice"}};
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kFailedUnchanged);
  EXPECT_EQ(results[0].stage, Stage::kPreflight);
  EXPECT_NE(results[0].reason.find("profile home: there is no user alice"), std::string::npos);
  EXPECT_FALSE(world.did("h1 build"));
  world.options_.goal = Goal::kPush;
  EXPECT_EQ(world.run()[0].outcome, Outcome::kStaged) << "a closure can be copied without its user";
}

// What the flake says of it can't be done, or couldn't be read.
TEST(BrokenHost, EndsUntouchedByItsOwnErrorAndStopsNoOther) {
  for (const auto& [kind, code] : {std::pair{ErrorKind::kInvalidInput, 1},
                                   std::pair{ErrorKind::kUnsupported, 1}, std::pair{ErrorKind::kFailed, 2}}) {
    World world(2);
    world.hosts_[0].error = Error{kind, "flurry.hosts.h1.tags: must be a list"};
    const auto results = world.run();
    EXPECT_EQ(results[0].outcome, Outcome::kFailedUnchanged);
    EXPECT_EQ(results[0].reason, "flurry.hosts.h1.tags: must be a list");
    EXPECT_EQ(results[1].outcome, Outcome::kSucceeded);
    EXPECT_EQ(exit_code(results, false), code);
    for (const auto& action : world.log) EXPECT_FALSE(action.starts_with("h1 ")) << action;
  }
}

TEST(ExitCode, IsTheWorstOfItsHosts) {
  const auto host = [](Outcome outcome, Stage stage = Stage::kEnded) {
    return HostResult{outcome, stage, {}, {}, {}, {}};
  };
  EXPECT_EQ(exit_code({host(Outcome::kSucceeded), host(Outcome::kStaged), host(Outcome::kUnchanged)}, false),
            0);
  EXPECT_EQ(exit_code({host(Outcome::kSkipped)}, false), 6);
  EXPECT_EQ(exit_code({host(Outcome::kSkipped), host(Outcome::kFailedUnchanged, Stage::kBuild)}, false), 2);
  EXPECT_EQ(exit_code({host(Outcome::kFailedUnchanged, Stage::kBuild),
                       host(Outcome::kFailedUnchanged, Stage::kCopy)},
                      false),
            3);
  EXPECT_EQ(exit_code({host(Outcome::kFailedUnchanged, Stage::kCopy), host(Outcome::kRolledBack)}, false), 4);
  EXPECT_EQ(exit_code({host(Outcome::kRolledBack), host(Outcome::kUnknown)}, false), 5);
  EXPECT_EQ(exit_code({host(Outcome::kRollbackFailed)}, false), 5);
  EXPECT_EQ(exit_code({host(Outcome::kSkipped), host(Outcome::kFailedUnchanged, Stage::kCopy)}, true), 130);
  EXPECT_EQ(exit_code({host(Outcome::kSkipped), host(Outcome::kUnknown)}, true), 5);
}

TEST(ExitCode, FollowsTheCauseOfABuildThatFailed) {
  const auto code = [](ErrorKind cause) {
    HostResult result{Outcome::kFailedUnchanged, Stage::kBuild, {}, {}, {}, {}};
    result.cause = cause;
    return exit_code({result}, false);
  };
  EXPECT_EQ(code(ErrorKind::kFailed), 2);
  for (const auto cause : {ErrorKind::kUnreachable, ErrorKind::kRefused, ErrorKind::kNoSpace})
    EXPECT_EQ(code(cause), 3);
}

TEST(Rollout, ALostConnectionInABuildIsNoBuildFailure) {
  World world(1);
  world.build_fails[0] = {ErrorKind::kUnreachable, "build on the host: the connection was lost"};
  world.run();
  EXPECT_EQ(world.code, 3);
}

}  // namespace
}  // namespace flurry
