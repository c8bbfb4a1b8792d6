#include "agent/executor.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "agent/deadman.h"
#include "agent/file_io.h"
#include "agent/run_switch.h"
#include "tests/unit/agent/executor_fixture.h"

namespace flurry::agent {
namespace {

TEST_F(ExecutorTest, CommitsAGoodDeployment) {
  EXPECT_EQ(deploy(test_spec()), Outcome::kSucceeded);
  EXPECT_EQ(system_.state().running, kNew);
  EXPECT_EQ(system_.state().profile, kNew);
  EXPECT_FALSE(*FileLock::is_held(paths_.executor_lock()));
  EXPECT_EQ((*journal_.find(test_spec().deployment))->record.outcome, Outcome::kSucceeded);
}

TEST_F(ExecutorTest, UnchangedTouchesNothing) {
  system_.set_running(kNew, true);
  EXPECT_EQ(deploy(test_spec(), false), Outcome::kUnchanged);
  EXPECT_EQ(system_.switches(), 0);
  EXPECT_FALSE(*journal_.find(test_spec().deployment));
}

TEST_F(ExecutorTest, GoesBackOnEveryFailure) {
  struct Case {
    const char* name;
    std::function<void()> break_it;
    Outcome outcome;
  };
  const Case cases[] = {
      {"check", [&] { system_.is_check_passing = false; }, Outcome::kRolledBack},
      {"switch", [&] { system_.switch_exit = 2; }, Outcome::kRolledBack},
      {"refused", [&] { system_.switch_exit = 1; }, Outcome::kFailedUnchanged},
      {"hang", [&] { system_.is_switch_hanging = true; }, Outcome::kRolledBack},
      {"journal", [&] { journal_.unwritable = Phase::kChecking; }, Outcome::kRolledBack},
      {"unconfirmed", [] {}, Outcome::kRolledBack},
  };
  int number = 0;
  for (const auto& c : cases) {
    system_.is_check_passing = true;
    system_.switch_exit = 0;
    system_.is_switch_hanging = false;
    journal_.unwritable = std::nullopt;
    c.break_it();
    EXPECT_EQ(deploy(test_spec(++number), false), c.outcome) << c.name;
    EXPECT_EQ(system_.state().running, kOld) << c.name;
    EXPECT_EQ(system_.state().profile, kOld) << c.name;
  }
}

TEST_F(ExecutorTest, FailedCommitGoesBack) {
  system_.is_commit_failing = true;
  EXPECT_EQ(deploy(test_spec()), Outcome::kRolledBack);
  EXPECT_EQ(system_.state().profile, kOld);
  EXPECT_EQ(system_.state().generation, 7u);
}

// Trap 10.
TEST_F(ExecutorTest, RefusesASecondDeployment) {
  system_.is_switch_hanging = true;
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(life.executor.begin(test_spec(1)));
  ASSERT_TRUE(life.reaches(test_spec(1).deployment, Phase::kSwitching));
  EXPECT_TRUE(life.executor.begin(test_spec(1))) << "a repeated call";
  const auto second = life.executor.begin(test_spec(2));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kRefused);
  EXPECT_NE(second.error().message.find(test_spec(1).deployment.str()), std::string::npos);
  auto other_nonce = test_spec(1);
  other_nonce.nonce = std::string(32, 'a');
  EXPECT_FALSE(life.executor.begin(other_nonce));
  EXPECT_TRUE(life.executor.overview()->active);
}

// Its controller dialled anew, was told that nothing had begun, and has reported that.
TEST_F(ExecutorTest, RefusesABeginThatComesAfterItsControllerGaveUp) {
  Life life(system_, journal_, paths_);
  const auto seen = life.executor.observe(test_spec(1).deployment, 0, Millis(0));
  ASSERT_TRUE(seen);
  EXPECT_FALSE(*seen);
  const auto late = life.executor.begin(test_spec(1));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ErrorKind::kRefused);
  EXPECT_NE(late.error().message.find("given up"), std::string::npos);
  EXPECT_EQ(system_.switches(), 0);
  EXPECT_TRUE(life.executor.begin(test_spec(2))) << "another deployment";
}

// A controller that has seen a deployment and then finds none takes its journal for lost.
TEST_F(ExecutorTest, TellsNobodyOfADeploymentThatIsInNoJournal) {
  class SlowSystem : public FakeSystem {
   public:
    Result<EffectValue> perform(const effect::Any& what, const ActivationRecord& record,
                                std::stop_token stop) override {
      if (std::holds_alternative<effect::ReadState>(what)) ::poll(nullptr, 0, 200);
      return FakeSystem::perform(what, record, stop);
    }
  } slow;
  Life life(slow, journal_, paths_);
  const auto id = test_spec().deployment;
  ASSERT_TRUE(life.executor.begin(test_spec()));
  const auto early = life.executor.observe(id, 0, Millis(0));
  ASSERT_TRUE(early && *early);
  EXPECT_EQ((*early)->revision, 0u);
  const auto seen = life.executor.observe(id, 0, kPatience);
  ASSERT_TRUE(seen && *seen);
  EXPECT_GT((*seen)->revision, 0u);
  EXPECT_TRUE(*journal_.find(id));
}

TEST_F(ExecutorTest, DeadmanEndsWhenItsJournalWasTakenAway) {
  run_deadman(test_spec().deployment, system_, journal_, paths_, {.boot_id = this_boot});
  EXPECT_EQ(system_.switches(), 0);
}

TEST_F(ExecutorTest, RollBackOnRequest) {
  auto spec = test_spec();
  spec.confirm_timeout = Millis(60'000);
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(life.executor.begin(spec));
  ASSERT_TRUE(life.reaches(spec.deployment, Phase::kAwaitingConfirmation));
  EXPECT_FALSE(life.executor.roll_back(spec.deployment, "wrong", "because"));
  EXPECT_TRUE(life.executor.roll_back(spec.deployment, kNonce, "because"));
  EXPECT_EQ(life.wait(spec.deployment)->record.outcome, Outcome::kRolledBack);
}

// An agent that ends in good order hands its deployment over; it can still be confirmed.
TEST_F(ExecutorTest, AnOrderlyRestartLosesNothing) {
  auto spec = test_spec();
  spec.confirm_timeout = Millis(60'000);
  {
    Life first(system_, journal_, paths_);
    ASSERT_TRUE(first.executor.begin(spec));
    ASSERT_TRUE(first.reaches(spec.deployment, Phase::kAwaitingConfirmation));
  }
  EXPECT_TRUE((*journal_.find(spec.deployment))->record.holder_stopped);
  Life second(system_, journal_, paths_);
  ASSERT_TRUE(second.reaches(spec.deployment, Phase::kAwaitingConfirmation));
  ASSERT_TRUE(second.executor.confirm(spec.deployment, kNonce));
  EXPECT_EQ(second.wait(spec.deployment)->record.outcome, Outcome::kSucceeded);
}

// The next agent would watch, and have confirmed, a system that is being taken away.
TEST_F(ExecutorTest, ARollbackThatTheJournalRefusedIsNotHandedOverAsAllWell) {
  auto spec = test_spec();
  spec.activation_timeout = spec.confirm_timeout = Millis(60'000);
  system_.is_going_back_hanging = true;
  journal_.unwritable = Phase::kRollingBack;
  {
    Life first(system_, journal_, paths_);
    ASSERT_TRUE(first.executor.begin(spec));
    ASSERT_TRUE(first.reaches(spec.deployment, Phase::kAwaitingConfirmation));
    ASSERT_TRUE(first.executor.roll_back(spec.deployment, kNonce, "because"));
    const TimePoint until = sys::now() + kPatience;
    while (system_.switches() < 2 && sys::now() < until) ::poll(nullptr, 0, 5);
    ASSERT_EQ(system_.switches(), 2);
  }
  const auto left = (*journal_.find(spec.deployment))->record;
  EXPECT_EQ(left.phase, Phase::kAwaitingConfirmation);
  EXPECT_FALSE(left.holder_stopped);
}

// The journal as a crash in that phase leaves it.
TEST_F(ExecutorTest, ACrashEndsAsTheCoreSays) {
  const std::pair<Phase, Outcome> cases[] = {{Phase::kPrepared, Outcome::kFailedUnchanged},
                                             {Phase::kSwitching, Outcome::kRolledBack},
                                             {Phase::kAwaitingConfirmation, Outcome::kRolledBack},
                                             {Phase::kProfileSet, Outcome::kSucceeded},
                                             {Phase::kRollingBack, Outcome::kRolledBack}};
  int number = 0;
  for (const auto& [phase, outcome] : cases) {
    system_.set_running(kOld, true);
    ActivationRecord record{.spec = test_spec(++number)};
    record.before = system_.state();
    record.phase = phase;
    record.deadline = sys::now() + Millis(500);
    if (phase != Phase::kPrepared) system_.set_running(kNew, phase == Phase::kProfileSet);
    ASSERT_TRUE(journal_.write(record));
    Life life(system_, journal_, paths_);
    EXPECT_EQ(life.wait(record.spec.deployment)->record.outcome, outcome) << to_string(phase);
  }
}

// Its controller has told that it failed: nobody would confirm.
TEST_F(ExecutorTest, RefusesABeginThatItHasRefusedBefore) {
  ASSERT_TRUE(make_private_dir(paths_.run()));
  std::optional<FileLock> lock = *FileLock::try_take(paths_.executor_lock());
  ASSERT_TRUE(lock);
  Life life(system_, journal_, paths_);
  EXPECT_FALSE(life.executor.begin(test_spec()));
  lock.reset();
  EXPECT_FALSE(life.executor.begin(test_spec()));
}

TEST_F(ExecutorTest, FollowsWhileAnotherProcessHoldsTheHost) {
  ActivationRecord record{.spec = test_spec()};
  record.before = system_.state();
  record.phase = Phase::kChecking;
  ASSERT_TRUE(journal_.write(record));
  ASSERT_TRUE(make_private_dir(paths_.run()));
  auto lock = FileLock::try_take(paths_.executor_lock());
  ASSERT_TRUE(lock && *lock);
  Life life(system_, journal_, paths_);
  EXPECT_EQ(life.wait(record.spec.deployment, Phase::kChecking)->record.phase, Phase::kChecking);
  EXPECT_FALSE(life.executor.begin(test_spec(2)));
  lock->reset();
  EXPECT_EQ(life.wait(record.spec.deployment)->record.outcome, Outcome::kRolledBack);
}

// The lock's holder is a real process that has been stopped; the deadman kills it and goes back.
TEST_F(ExecutorTest, DeadmanTakesOverFromAFrozenAgent) {
  ActivationRecord record{.spec = test_spec()};
  record.before = system_.state();
  record.phase = Phase::kAwaitingConfirmation;
  record.deadline = sys::now() + Millis(200);
  system_.set_running(kNew, false);
  ASSERT_TRUE(journal_.write(record));
  ASSERT_TRUE(make_private_dir(paths_.run()));
  const pid_t holder = ::fork();
  ASSERT_GE(holder, 0);
  if (holder == 0) {
    const auto lock = FileLock::try_take(paths_.executor_lock());
    ::raise(SIGSTOP);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(holder, &status, WUNTRACED);
  ASSERT_TRUE(*FileLock::is_held(paths_.executor_lock()));
  run_deadman(record.spec.deployment, system_, journal_, paths_,
              {.boot_id = this_boot, .grace = Millis(100), .stalled_for = Millis(300)});
  EXPECT_EQ(::waitpid(holder, &status, 0), holder);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ((*journal_.find(record.spec.deployment))->record.outcome, Outcome::kRolledBack);
  EXPECT_EQ(system_.state().running, kOld);
}

TEST(RunSwitch, TellsHowASwitchEnded) {
  const TempDir dir;
  const std::string status = dir.str() + "/unit";
  EXPECT_FALSE(wait_for_switch(status, {})->exit_code) << "never was";
  EXPECT_EQ(run_switch_main(status, {"sh", "-c", "exit 4"}), 0);
  EXPECT_EQ(wait_for_switch(status, {})->exit_code, 4);
  ::unlink(status.c_str());

  const pid_t wrapper = ::fork();
  const std::string pid_file = dir.str() + "/pid";
  if (wrapper == 0)
    ::_exit(run_switch_main(status, {"sh", "-c", "echo $$ > $0.new; mv $0.new $0; exec sleep 30", pid_file}));
  while (!*FileLock::is_held(status + ".lock") || ::access(pid_file.c_str(), F_OK) != 0) ::usleep(10'000);
  ::kill(wrapper, SIGKILL);
  ::waitpid(wrapper, nullptr, 0);
  EXPECT_FALSE(wait_for_switch(status, {})->exit_code) << "the wrapper was killed";
  pid_t left = 0;
  std::ifstream(pid_file) >> left;
  ASSERT_GT(left, 1);
  ::kill(left, SIGKILL);
}

TEST(RunSwitch, ThatDiesByASignalHasNoExitCode) {
  for (const char* number : {"KILL", "SEGV", "TERM"}) {
    const TempDir dir;
    const std::string status = dir.str() + "/unit";
    run_switch_main(status, {"sh", "-c", std::string("kill -") + number + " $$"});
    EXPECT_FALSE(wait_for_switch(status, {})->exit_code) << number;
  }
}

}  // namespace
}  // namespace flurry::agent
