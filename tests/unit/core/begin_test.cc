#include "tests/unit/core/rollout_world.h"

// What a controller hands to an agent, and what it makes of what the agent answers, field by field.

namespace flurry {
namespace {

HealthPolicy strict_policy() {
  HealthPolicy policy{
      .min_healthy = Millis(1'111), .deadline = Millis(7'777), .failed_units = FailedUnits::kAny};
  HealthCheck site;
  site.name = "site";
  site.kind = TcpCheck{"localhost", 80};
  policy.checks.push_back(site);
  return policy;
}

TEST(Begin, HandsEverythingThatWasAskedForToTheAgent) {
  World world(1);
  world.options_.who = "alice@laptop";
  world.options_.revision = "0123abc";
  world.options_.goal = Goal::kTest;
  world.options_.allow_no_rollback = true;
  world.options_.confirm_timeout.reset();
  world.hosts_[0].health = strict_policy();
  world.hosts_[0].activation_timeout = Millis(54'321);
  world.hosts_[0].confirm_timeout = Millis(12'345);
  world.facts[0] = {.state = {.running = path('7'), .profile = path('6'), .generation = 3}};
  world.tickets_[0].nonce = "the nonce";
  const ProfileRef home{"home", "bob", "/home/bob/link"};
  world.derivations[0] = {{{home, path('h'), path('3')}, {system_profile(path('2')), path('d'), path('2')}}};
  world.run();

  const ActivationSpec& spec = world.begun.at(0);
  EXPECT_EQ(spec.deployment, world.options_.deployment);
  EXPECT_EQ(spec.nonce, "the nonce");
  EXPECT_EQ(spec.who, "alice@laptop");
  EXPECT_EQ(spec.revision, "0123abc");
  ASSERT_EQ(spec.profiles.size(), 2u);
  EXPECT_EQ(spec.profiles[0].name, "home");
  EXPECT_EQ(spec.profiles[0].user, "bob");
  EXPECT_EQ(spec.profiles[0].path, "/home/bob/link");
  EXPECT_EQ(spec.profiles[0].new_path, path('3'));
  EXPECT_TRUE(spec.profiles[1].is_system());
  EXPECT_EQ(spec.profiles[1].new_path, path('2'));
  EXPECT_EQ(spec.expected_running, path('7'));
  EXPECT_EQ(spec.goal, Goal::kTest);
  EXPECT_TRUE(spec.allow_no_rollback);
  EXPECT_EQ(spec.activation_timeout, Millis(54'321));
  EXPECT_EQ(spec.confirm_timeout, Millis(12'345));
  EXPECT_EQ(spec.health, strict_policy());
}

TEST(Begin, AsksForNothingThatWasNotAskedFor) {
  World world(1);
  world.facts[0] = {.state = {.running = path('1'), .profile = path('1'), .generation = 3}};
  world.run();
  const ActivationSpec& spec = world.begun.at(0);
  EXPECT_EQ(spec.goal, Goal::kSwitch);
  EXPECT_FALSE(spec.allow_no_rollback);
  EXPECT_TRUE(spec.magic_rollback);
  EXPECT_TRUE(spec.auto_rollback);
  EXPECT_EQ(spec.health, HealthPolicy{});
}

// Each alone turns it off; a success that nobody confirmed proves no reachability.
TEST(Begin, MagicRollbackIsOffWhereTheHostOrTheCommandLineSaysSo) {
  for (const bool host : {false, true}) {
    for (const bool command : {false, true}) {
      SCOPED_TRACE(std::string(host ? "host on" : "host off") + (command ? ", command on" : ", command off"));
      World world(1);
      world.hosts_[0].magic_rollback = host;
      world.options_.magic_rollback = command;
      world.views[0] = {ActionValue(ended(Outcome::kSucceeded))};
      const auto results = world.run();
      EXPECT_EQ(world.begun.at(0).magic_rollback, host && command);
      EXPECT_TRUE(world.begun.at(0).auto_rollback) << "it is another setting";
      ASSERT_TRUE(results[0].proof);
      EXPECT_EQ(results[0].proof->is_reached, host && command);
    }
  }
}

TEST(Begin, AutoRollbackIsTheHosts) {
  World world(2);
  world.hosts_[0].auto_rollback = false;
  world.run();
  EXPECT_FALSE(world.begun.at(0).auto_rollback);
  EXPECT_TRUE(world.begun.at(0).magic_rollback) << "it is another setting";
  EXPECT_TRUE(world.begun.at(1).auto_rollback);
}

TEST(Begin, TheCommandLinesConfirmTimeoutGoesOverTheHosts) {
  World world(1);
  world.hosts_[0].confirm_timeout = Millis(12'345);
  world.options_.confirm_timeout = Millis(54'321);
  world.run();
  EXPECT_EQ(world.begun.at(0).confirm_timeout, Millis(54'321));
}

TEST(Begin, EachHostIsConfirmedWithItsOwnNonce) {
  World world(3);
  world.run();
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(world.begun.at(i).nonce, world.tickets_[i].nonce);
    EXPECT_EQ(world.nonces[i], std::vector{world.tickets_[i].nonce});
  }
}

TEST(Begin, AFixedSystemIsBegunAsTheSystem) {
  World world(1);
  world.tickets_[0].fixed = {{system_profile(path('5')), path('5')}};
  world.run();
  ASSERT_EQ(world.begun.at(0).profiles.size(), 1u);
  EXPECT_TRUE(world.begun.at(0).profiles[0].is_system());
  EXPECT_EQ(world.begun.at(0).profiles[0].new_path, path('5'));
}

// As after --goal boot: the boot default is the new one, and what runs is not.
TEST(Begin, IsAskedForWhereTheClosureIsCommittedAndDoesNotRun) {
  World world(1);
  world.facts[0] = {.state = {.running = path('1'), .profile = path('2'), .generation = 4}};
  EXPECT_EQ(world.run()[0].outcome, Outcome::kSucceeded);
  EXPECT_TRUE(world.begun.count(0));
}

TEST(Begin, GoalsThatPromiseSomethingElseAreNotAnsweredWithUnchanged) {
  for (const Goal goal : {Goal::kTest, Goal::kBoot, Goal::kDryActivate}) {
    World world(1);
    world.options_.goal = goal;
    world.facts[0] = {.state = {.running = path('2'), .profile = path('2'), .generation = 4}};
    world.run();
    ASSERT_TRUE(world.begun.count(0)) << to_string(goal);
    EXPECT_EQ(world.begun.at(0).goal, goal);
  }
}

TEST(Answer, ObserveAsksForWhatIsNewSinceTheLastRevision) {
  World world(1);
  world.views[0] = {ActionValue(AgentView{.known = true, .revision = 41, .phase = Phase::kSwitching}),
                    ActionValue(ended(Outcome::kSucceeded))};
  world.run();
  EXPECT_EQ(world.asked_since[0], (std::vector<uint64_t>{0, 41}));
}

TEST(Answer, ReachesTheResultWithAllItSays) {
  World world(1);
  AgentView view = ended(Outcome::kRolledBack, "why");
  view.output = "what the switch said";
  view.back_from = Phase::kChecking;
  world.views[0] = {ActionValue(view)};
  const auto result = world.run()[0];
  EXPECT_EQ(result.outcome, Outcome::kRolledBack);
  EXPECT_EQ(result.stage, Stage::kCheck);
  EXPECT_EQ(result.reason, "why");
  EXPECT_EQ(result.output, "what the switch said");
  EXPECT_FALSE(result.proof);
}

TEST(Answer, NamesTheStageOfEachPhaseThatItTurnedBackFrom) {
  const std::pair<Phase, Stage> stages[] = {
      {Phase::kPrepared, Stage::kActivate}, {Phase::kSwitching, Stage::kActivate},
      {Phase::kChecking, Stage::kCheck},    {Phase::kAwaitingConfirmation, Stage::kConfirm},
      {Phase::kConfirmed, Stage::kCommit},  {Phase::kProfileSet, Stage::kCommit},
      {Phase::kCommitted, Stage::kCommit},  {Phase::kRollingBack, Stage::kRollBack}};
  for (const auto& [phase, stage] : stages) {
    World world(1);
    AgentView view = ended(Outcome::kRolledBack);
    view.back_from = phase;
    world.views[0] = {ActionValue(view)};
    EXPECT_EQ(world.run()[0].stage, stage) << to_string(phase);
  }
}

// It was being switched, so nobody may say that nothing changed.
TEST(Answer, OfAnAgentThatHasLostTheRecordIsUnknown) {
  for (const Phase phase : {Phase::kPrepared, Phase::kSwitching, Phase::kChecking}) {
    World world(1);
    world.views[0] = {ActionValue(AgentView{.known = true, .revision = 1, .phase = phase}),
                      ActionValue(AgentView{.known = false})};
    EXPECT_EQ(world.run()[0].outcome, Outcome::kUnknown) << to_string(phase);
    EXPECT_EQ(world.code, 5);
  }
}

// The host may still be waiting for the confirmation, and go back by itself after that.
TEST(Answer, AHostOutOfReachIsGivenTheWholeOfItsTimesBeforeItIsCalledUnknown) {
  World world(1);
  world.options_.confirm_timeout = Millis(3'600'000);
  world.hosts_[0].activation_timeout = Millis(100'000);
  world.hosts_[0].health.deadline = Millis(50'000);
  world.always.emplace(0, Error{ErrorKind::kUnreachable, "no route"});
  EXPECT_EQ(world.run()[0].outcome, Outcome::kUnknown);
  EXPECT_GE(world.took, Millis(3'600'000 + 100'000 + 50'000));
  EXPECT_LT(world.took, Millis(3'600'000 + 100'000 + 50'000 + 300'000));
}

TEST(Requires, AHostThatWasSkippedIsNoGoodGround) {
  World world(2);
  world.hosts_[0].requires_hosts = {world.hosts_[1].name};
  world.hosts_[1].allow_offline = true;
  world.connect_fails[1] = {ErrorKind::kUnreachable, "no route"};
  const auto results = world.run();
  EXPECT_EQ(results[1].outcome, Outcome::kSkipped);
  EXPECT_EQ(results[0].outcome, Outcome::kSkipped);
  EXPECT_NE(results[0].reason.find("h2"), std::string::npos) << results[0].reason;
  EXPECT_FALSE(world.begun.count(0));
}

TEST(Requires, EveryOutcomeBesideTheGoodOnesHoldsBackWhoRequiresIt) {
  const std::pair<Outcome, bool> cases[] = {{Outcome::kSucceeded, true},   {Outcome::kStaged, true},
                                            {Outcome::kUnchanged, true},   {Outcome::kFailedUnchanged, false},
                                            {Outcome::kRolledBack, false}, {Outcome::kRollbackFailed, false},
                                            {Outcome::kSuperseded, false}, {Outcome::kUnknown, false}};
  for (const auto& [outcome, goes_on] : cases) {
    World world(2);
    world.hosts_[0].requires_hosts = {world.hosts_[1].name};
    world.views[1] = {ActionValue(ended(outcome))};
    world.run();
    EXPECT_EQ(world.begun.count(0) == 1, goes_on) << to_string(outcome);
  }
}

TEST(ExitCode, OfAnEvaluationThatFailedIsTwo) {
  World world(1);
  world.evaluate_fails[0] = {ErrorKind::kFailed, "attribute missing"};
  const auto results = world.run();
  EXPECT_EQ(results[0].stage, Stage::kEvaluate);
  EXPECT_EQ(world.code, 2);
}

TEST(ExitCode, OfEachOutcomeAlone) {
  const std::pair<Outcome, int> cases[] = {
      {Outcome::kSucceeded, 0},  {Outcome::kStaged, 0},     {Outcome::kUnchanged, 0},
      {Outcome::kRolledBack, 4}, {Outcome::kSuperseded, 5}, {Outcome::kRollbackFailed, 5},
      {Outcome::kUnknown, 5},    {Outcome::kSkipped, 6},    {Outcome::kFailedUnchanged, 3}};
  for (const auto& [outcome, code] : cases) {
    HostResult result;
    result.outcome = outcome;
    result.stage = Stage::kCopy;
    EXPECT_EQ(exit_code({result}, false), code) << to_string(outcome);
  }
}

}  // namespace
}  // namespace flurry
