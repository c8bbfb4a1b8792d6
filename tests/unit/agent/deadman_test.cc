#include "agent/deadman.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "agent/deadman_watch.h"
#include "agent/file_io.h"
#include "tests/unit/agent/executor_fixture.h"

namespace flurry::agent {
namespace {

constexpr Millis kMoment{20};

class DeadmanTest : public ExecutorTest {
 protected:
  DeadmanTest() {
    record_.before = system_.state();
    record_.phase = Phase::kAwaitingConfirmation;
    record_.deadline = sys::now() + Millis(3'600'000);
    system_.set_running(kNew, false);
    EXPECT_TRUE(make_private_dir(paths_.run()));
  }
  std::optional<Outcome> outcome() { return (*journal_.find(record_.spec.deployment))->record.outcome; }

  ActivationRecord record_{.spec = test_spec()};
};

TEST_F(DeadmanTest, WatchSleepsUntilTheTimeAndNoLongerThanItSays) {
  std::filesystem::create_directories(paths_.journals());
  DeadmanWatch watch(paths_.journals());
  const TimePoint until = sys::now() + kMoment;
  watch.wait(until, std::nullopt);
  EXPECT_GE(sys::now(), until);
  watch.wait(sys::now() - kMoment, std::nullopt);  // in the past: at once
}

TEST_F(DeadmanTest, WatchNoticesAWriteAndTheEndOfAProcess) {
  ASSERT_TRUE(journal_.write(record_));
  DeadmanWatch watch(paths_.journals());
  const TimePoint until = sys::now() + DeadmanWatch::kLongest;
  std::jthread writer([this] {
    ::poll(nullptr, 0, static_cast<int>(kMoment.count()));
    EXPECT_TRUE(journal_.write(record_));
  });
  watch.wait(until, std::nullopt);
  writer.join();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::poll(nullptr, 0, static_cast<int>(kMoment.count()));
    ::_exit(0);
  }
  watch.wait(until, pid);
  ::waitpid(pid, nullptr, 0);
  EXPECT_LT(sys::now(), until);
}

TEST_F(DeadmanTest, EndsAsSoonAsTheJournalSaysThatAllIsOver) {
  ASSERT_TRUE(journal_.write(record_));
  std::jthread writer;
  const TimePoint began = sys::now();
  run_deadman(record_.spec.deployment, system_, journal_, paths_,
              {.boot_id = this_boot, .on_watch = [&] {
                 writer = std::jthread([this] {
                   FileJournal agents(paths_.journals());
                   ::poll(nullptr, 0, static_cast<int>(kMoment.count()));
                   ActivationRecord ended = record_;
                   ended.phase = Phase::kEnded;
                   ended.outcome = Outcome::kSucceeded;
                   EXPECT_TRUE(agents.write(ended));
                 });
               }});
  EXPECT_LT(sys::now(), began + DeadmanWatch::kLongest);
  EXPECT_EQ(system_.switches(), 0);
}

// A soft reboot: the deadline is an hour away, and what was to come before it can't come any more.
TEST_F(DeadmanTest, WaitsForNoDeadlineThatABootHasOvertaken) {
  ASSERT_TRUE(journal_.write(record_));
  run_deadman(record_.spec.deployment, system_, journal_, paths_,
              {.boot_id = [] { return Result<std::string>(std::string(kBootId) + "+1"); }, .grace = kMoment});
  EXPECT_EQ(outcome(), Outcome::kRolledBack);
  EXPECT_NE((*journal_.find(record_.spec.deployment))->record.reason.find("reboot"), std::string::npos);
}

TEST_F(DeadmanTest, DoesNothingInAShutdown) {
  record_.deadline = sys::now() - kMoment;
  ASSERT_TRUE(journal_.write(record_));
  int asked = 0;
  run_deadman(record_.spec.deployment, system_, journal_, paths_,
              {.boot_id = this_boot,
               .may_act =
                   [&](bool is_other_boot) {
                     EXPECT_FALSE(is_other_boot);
                     EXPECT_EQ(system_.switches(), 0);
                     return ++asked > 1;
                   },
               .grace = Millis(0)});
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(outcome(), Outcome::kRolledBack);
}

// Its deadline was written by the clock of another kernel: that it lies in the past means nothing.
TEST_F(DeadmanTest, LeavesAnAgentAloneThatFinishesAStoryAfterAReboot) {
  record_.before.boot_id = "99999999-2222-3333-4444-555555555555";
  record_.deadline = TimePoint(Millis(1));
  ASSERT_TRUE(journal_.write(record_));
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t agent = ::fork();
  if (agent == 0) {
    const auto lock = FileLock::try_take(paths_.executor_lock());
    [[maybe_unused]] const ssize_t told = ::write(ready[1], "x", 1);
    ::poll(nullptr, 0, 300);
    record_.phase = Phase::kEnded;
    record_.outcome = Outcome::kRolledBack;
    ::_exit(journal_.write(record_) ? 0 : 1);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  run_deadman(record_.spec.deployment, system_, journal_, paths_,
              {.boot_id = this_boot, .grace = Millis(0), .stalled_for = Millis(0)});
  int status = 0;
  ASSERT_EQ(::waitpid(agent, &status, 0), agent);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "it was killed";
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace flurry::agent
