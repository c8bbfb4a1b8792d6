#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "agent/deadman.h"
#include "agent/file_io.h"
#include "tests/unit/agent/executor_fixture.h"

// Two faults at once, and what must come of them all the same.

namespace flurry::agent {
namespace {

// A restarted agent wins the race for the lock that the deadman saw free, and freezes in its turn.
TEST_F(ExecutorTest, DeadmanTakesOverFromAnAgentThatFreezesAfterItWasFaster) {
  ActivationRecord record{.spec = test_spec()};
  record.before = system_.state();
  record.phase = Phase::kAwaitingConfirmation;
  record.deadline = sys::now() - Millis(60'000);
  system_.set_running(kNew, false);
  ASSERT_TRUE(journal_.write(record));
  ASSERT_TRUE(make_private_dir(paths_.run()));
  pid_t holder = -1;
  int status = 0;
  journal_.before_the_look = [&] {
    holder = ::fork();
    if (holder == 0) {
      const auto lock = FileLock::try_take(paths_.executor_lock());
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    ::waitpid(holder, &status, WUNTRACED);
  };
  run_deadman(record.spec.deployment, system_, journal_, paths_,
              {.boot_id = this_boot, .grace = Millis(100), .stalled_for = Millis(300)});
  ASSERT_GT(holder, 0);
  EXPECT_EQ(::waitpid(holder, &status, 0), holder);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ((*journal_.find(record.spec.deployment))->record.outcome, Outcome::kRolledBack);
}

// The deadline of a rollback has room for switches that hang; a host that nobody drives needs none of it.
TEST_F(ExecutorTest, DeadmanDoesNotWaitForTheDeadlineOfARollbackThatNobodyDrives) {
  ActivationRecord record{.spec = test_spec()};
  record.before = system_.state();
  record.phase = Phase::kRollingBack;
  record.back_from = Phase::kChecking;
  record.deadline = sys::now() + Millis(30'000);
  system_.set_running(kNew, false);
  ASSERT_TRUE(journal_.write(record));
  run_deadman(record.spec.deployment, system_, journal_, paths_,
              {.boot_id = this_boot, .grace = Millis(60), .stalled_for = Millis(60)});
  EXPECT_LT(sys::now(), record.deadline);
  EXPECT_EQ((*journal_.find(record.spec.deployment))->record.outcome, Outcome::kRolledBack);
}

// The outcome was verified; a disk that has no room for it is no reason to activate anything again.
TEST_F(ExecutorTest, AnOutcomeThatTheJournalRefusedIsWrittenLaterAndNothingIsDoneTwice) {
  system_.is_check_passing = false;
  journal_.unwritable = Phase::kEnded;
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(life.executor.begin(test_spec()));
  EXPECT_EQ(life.wait(test_spec().deployment)->record.outcome, Outcome::kRolledBack);
  const int switches = system_.switches();
  for (const TimePoint until = sys::now() + kPatience; journal_.refused < 4 && sys::now() < until;)
    ::usleep(5'000);
  EXPECT_GE(journal_.refused, 4) << "tried again";
  EXPECT_FALSE(life.executor.begin(test_spec(2))) << "the journal says that the host is held";
  journal_.unwritable = std::nullopt;
  for (const TimePoint until = sys::now() + kPatience; sys::now() < until; ::usleep(5'000))
    if ((*journal_.find(test_spec().deployment))->record.phase == Phase::kEnded) break;
  EXPECT_EQ((*journal_.find(test_spec().deployment))->record.outcome, Outcome::kRolledBack);
  EXPECT_EQ(system_.switches(), switches);
}

TEST_F(ExecutorTest, ADamagedJournalHoldsTheHostUntilTheBootDefaultRunsAndIsKept) {
  ActivationRecord record{.spec = test_spec(1)};
  record.phase = Phase::kChecking;
  ASSERT_TRUE(journal_.write(record));
  ASSERT_EQ(::truncate(journal_.path(record.spec.deployment).c_str(), 10), 0);
  system_.set_running(kNew, false);  // and the profile names the old one
  Life life(system_, journal_, paths_);
  const auto refused = life.executor.begin(test_spec(2));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kRefused);
  EXPECT_NE(refused.error().message.find(test_spec(1).deployment.str()), std::string::npos);
  EXPECT_EQ(life.executor.overview()->notes.size(), 1u);

  system_.set_running(kOld, true);
  const auto begun = life.executor.begin(test_spec(3));
  EXPECT_TRUE(begun) << begun.error().message;
  const auto notes = life.executor.overview()->notes;
  ASSERT_EQ(notes.size(), 1u) << "its story is not forgotten";
  EXPECT_NE(notes[0].find(test_spec(1).deployment.str() + ".damaged"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(paths_.journals() + "/" + test_spec(1).deployment.str() + ".damaged"));
}

// A build may take longer than the agent's patience with nobody: its controller is still there.
TEST_F(ExecutorTest, DoesNotEndWhileAConnectionIsOpen) {
  Executor executor(system_, journal_, paths_, {.boot_id = kBootId, .idle_exit = Millis(0)});
  executor.connections(1);
  std::jthread thread([&] { executor.run(); });
  for (int i = 0; i < 50; ++i) {  // without the connection, the first turn is the last
    const auto overview = executor.overview();
    ASSERT_TRUE(overview) << overview.error().message;
  }
  executor.connections(0);
  thread.join();  // ends
  EXPECT_FALSE(executor.overview());
}

// Each holds one of the server's few threads, which others need too.
TEST_F(ExecutorTest, AnswersTheOldestOfTooManyLongPollsBeforeTheirTime) {
  Life life(system_, journal_, paths_);
  constexpr uint64_t kNow = 1;  // the revision of an agent to which nothing happened yet
  std::atomic<int> answered = 0;
  std::atomic<int> left_waiting = 0;
  std::vector<std::jthread> polls;
  for (int i = 0; i < 40; ++i)
    polls.emplace_back([&] {
      ++(life.executor.observe(test_spec().deployment, kNow, Millis(5000)) ? answered : left_waiting);
    });
  for (const TimePoint until = sys::now() + kPatience; answered < 24 && sys::now() < until;) ::usleep(1000);
  life.executor.stop();
  polls.clear();
  EXPECT_EQ(left_waiting, 16);
}

}  // namespace
}  // namespace flurry::agent
