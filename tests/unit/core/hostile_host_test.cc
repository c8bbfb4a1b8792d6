#include "tests/unit/core/rollout_world.h"

// Hosts whose agent is sick or hostile, and what a user is told of those that can't be reached.

namespace flurry {
namespace {

AgentView standing(Phase phase, uint64_t revision = 1) {
  return {.known = true, .revision = revision, .phase = phase};
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

const Error kUnreached{ErrorKind::kUnreachable, "root@h1:22: connect: No route to host"};
const Error kLoginRefused{ErrorKind::kRefused, "root@h1:22: login as root refused; tried ~/.ssh/id"};

TEST(HostileHost, ThatSaysForEverThatItIsOnItsWayEndsAsUnknownAndIsSeldomAsked) {
  for (const Phase phase : {Phase::kPrepared, Phase::kSwitching, Phase::kChecking, Phase::kConfirmed,
                            Phase::kProfileSet, Phase::kCommitted, Phase::kRollingBack}) {
    World world(2);
    world.turn_ = Millis(100);
    world.always.emplace(0, ActionValue(standing(phase)));
    const auto results = world.run();
    EXPECT_EQ(results[0].outcome, Outcome::kUnknown) << to_string(phase);
    EXPECT_TRUE(has(results[0].reason, "still answers")) << results[0].reason;
    EXPECT_EQ(results[1].outcome, Outcome::kSucceeded) << "the other host";
    EXPECT_EQ(world.code, 5);
    const long long questions = std::count(world.log.begin(), world.log.end(), "h1 observe");
    EXPECT_LE(questions, world.took.count() / 1000 + 5) << to_string(phase);
  }
}

TEST(HostileHost, ThatTellsSomethingNewForEverIsSeldomAskedToo) {
  World world(1);
  world.turn_ = Millis(100);
  // It goes back and forth, so that each answer is new.
  for (int i = 0; i < 60'000; ++i)
    world.views[0].push_back(ActionValue(
        standing(i % 2 == 0 ? Phase::kSwitching : Phase::kRollingBack, static_cast<uint64_t>(i) + 1)));
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kUnknown);
  EXPECT_LE(std::count(world.log.begin(), world.log.end(), "h1 observe"), world.took.count() / 1000 + 300);
}

TEST(HostileHost, ThatAwaitsAConfirmationForEverIsNotDialledAgainAndAgain) {
  World world(1);
  world.turn_ = Millis(100);
  world.always.emplace(0, ActionValue(standing(Phase::kAwaitingConfirmation)));
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kUnknown);
  EXPECT_LE(static_cast<long long>(world.confirmed_at.size()), world.took.count() / 5000 + 1);
}

TEST(HostileHost, IsGivenAllTheTimeThatAnHonestOneMayTake) {
  World world(1);
  const Millis longest = world.hosts_[0].activation_timeout + world.hosts_[0].health.deadline +
                         Millis(30'000) + 3 * world.hosts_[0].activation_timeout;
  world.turn_ = longest / 40;
  for (int i = 0; i < 39; ++i)
    world.views[0].push_back(ActionValue(standing(i < 20 ? Phase::kSwitching : Phase::kRollingBack, 1)));
  world.views[0].push_back(ActionValue(ended(Outcome::kRolledBack)));
  EXPECT_EQ(world.run()[0].outcome, Outcome::kRolledBack);
}

TEST(Refusal, OfALoginIsToldAndNotRepeatedEverySecond) {
  World world(1);
  AgentView back = ended(Outcome::kRolledBack, "no confirmation came within 30 s");
  back.back_from = Phase::kAwaitingConfirmation;
  world.views[0] = {ActionValue(standing(Phase::kAwaitingConfirmation)), kLoginRefused, kUnreached,
                    kLoginRefused, ActionValue(back)};
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kRolledBack);
  EXPECT_EQ(results[0].reason,
            "no confirmation came within 30 s; at the last dial the host answered, but refused: "
            "root@h1:22: login as root refused; tried ~/.ssh/id");
  ASSERT_EQ(world.confirmed_at.size(), 4u);
  for (size_t i = 1; i < 4; ++i)
    EXPECT_GE(world.confirmed_at[i] - world.confirmed_at[i - 1], Millis(5000)) << i;
}

TEST(Confirmation, ThatFailedIsToldAsItFailed) {
  AgentView back = ended(Outcome::kRolledBack, "no confirmation came within 30 s");
  back.back_from = Phase::kAwaitingConfirmation;
  World unreached(1);
  unreached.views[0] = {ActionValue(standing(Phase::kAwaitingConfirmation)), kUnreached, ActionValue(back)};
  EXPECT_TRUE(has(unreached.run()[0].reason,
                  "30 s; the host could not be reached over a new connection: root@h1:22"));
  // As after a controller slept: nobody tried, and nobody says so.
  World asleep(1);
  asleep.views[0] = {ActionValue(standing(Phase::kChecking)), ActionValue(back)};
  EXPECT_EQ(asleep.run()[0].reason,
            "no confirmation came within 30 s; this controller had not called by then");
  // What went back for another reason has nothing to do with our dials.
  World sick(1);
  sick.views[0] = {ActionValue(standing(Phase::kChecking)), Error{ErrorKind::kUnreachable, "reset"},
                   kUnreached, ActionValue(ended(Outcome::kRolledBack, "not healthy: site"))};
  EXPECT_EQ(sick.run()[0].reason, "not healthy: site");
}

// What is told of a host that the user leaves in `phase`.
std::string told_at_detach(Phase phase, const std::function<void(World&)>& change = {}) {
  World world(1);
  if (change) change(world);
  world.always.emplace(0, ActionValue(standing(phase)));
  world.interrupts[12] = 2;
  return world.run()[0].reason;
}

TEST(Detach, PromisesOnlyWhatTheHostWillDo) {
  const std::string goes_back = "without a confirmation it goes back by itself";
  EXPECT_TRUE(has(told_at_detach(Phase::kSwitching), goes_back));
  EXPECT_TRUE(has(told_at_detach(Phase::kAwaitingConfirmation), "if the confirmation arrived it commits"));
  for (const Phase phase : {Phase::kConfirmed, Phase::kProfileSet, Phase::kCommitted})
    EXPECT_TRUE(has(told_at_detach(phase), "it was confirmed, and goes on to commit")) << to_string(phase);
  EXPECT_TRUE(has(told_at_detach(Phase::kRollingBack), "it is going back by itself"));
  EXPECT_TRUE(has(told_at_detach(Phase::kChecking, [](World& w) { w.options_.magic_rollback = false; }),
                  "it waits for no confirmation"));
  EXPECT_TRUE(has(told_at_detach(Phase::kChecking, [](World& w) { w.hosts_[0].auto_rollback = false; }),
                  "autoRollback is off"));
  EXPECT_TRUE(has(told_at_detach(Phase::kSwitching,
                                 [](World& w) {
                                   w.options_.allow_no_rollback = true;
                                   w.facts[0] = {.state = {.generation = 1}};
                                 }),
                  "there is nothing that it could go back to"));
  for (const Goal goal : {Goal::kBoot, Goal::kDryActivate})
    EXPECT_FALSE(
        has(told_at_detach(Phase::kSwitching, [goal](World& w) { w.options_.goal = goal; }), goes_back));
}

TEST(OutOfReach, IsToldWithWhatTheHostDoes) {
  World world(1);
  world.views[0] = {ActionValue(standing(Phase::kAwaitingConfirmation)),
                    ActionValue(standing(Phase::kConfirmed, 2))};
  for (int i = 0; i < 2000; ++i) world.views[0].push_back(kUnreached);
  const auto results = world.run();
  EXPECT_EQ(results[0].outcome, Outcome::kUnknown);
  EXPECT_TRUE(has(results[0].reason, "it was confirmed, and goes on to commit by itself"))
      << results[0].reason;
}

}  // namespace
}  // namespace flurry
