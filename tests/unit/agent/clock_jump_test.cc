#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "agent/executor.h"
#include "tests/unit/agent/fake_system.h"
#include "tests/unit/agent/temp_dir.h"

// Somebody sets the host's clock while a deployment waits for its confirmation.

namespace {

std::atomic<long> wall_clock_jump = 0;  // seconds
constexpr long kDay = 24L * 3600;

}  // namespace

// In place of the C library's, for this program and every library in it.
extern "C" int clock_gettime(clockid_t id, timespec* out) noexcept {
  const long failed = ::syscall(SYS_clock_gettime, id, out);
  if (failed == 0 && id == CLOCK_REALTIME) out->tv_sec += wall_clock_jump;
  return static_cast<int>(failed);
}

namespace flurry::agent {
namespace {

class ClockJump : public testing::Test {
 protected:
  ClockJump() : paths_{dir_.str()}, journal_(paths_.journals()) {}
  ~ClockJump() override {
    executor_.stop();
    wall_clock_jump = 0;
  }

  Phase wait_for(Phase phase) {
    Phase seen = Phase::kPrepared;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (seen != phase && std::chrono::steady_clock::now() < until)
      if (const auto answer = executor_.observe(test_spec().deployment, 0, Millis(0)); answer && *answer)
        seen = (*answer)->record.phase;
    return seen;
  }

  Outcome outcome() {
    wait_for(Phase::kEnded);
    return (*journal_.find(test_spec().deployment))->record.outcome.value_or(Outcome::kUnknown);
  }

  TempDir dir_;
  Paths paths_;
  FakeSystem system_;
  FileJournal journal_;
  Executor executor_{system_, journal_, paths_, {.boot_id = kBootId}};
  std::jthread thread_{[this] { executor_.run(); }};
};

// Trap 21.
TEST_F(ClockJump, ForwardEndsNoDeadlineEarly) {
  ActivationSpec spec = test_spec();
  spec.confirm_timeout = Millis(60'000);
  ASSERT_TRUE(executor_.begin(spec));
  ASSERT_EQ(wait_for(Phase::kAwaitingConfirmation), Phase::kAwaitingConfirmation);
  wall_clock_jump = kDay;
  ASSERT_TRUE(executor_.confirm(spec.deployment, kNonce));
  EXPECT_EQ(outcome(), Outcome::kSucceeded);
}

// Trap 21.
TEST_F(ClockJump, BackwardKeepsNoHostOnAnUnconfirmedSystem) {
  ActivationSpec spec = test_spec();
  spec.confirm_timeout = Millis(1'000);
  ASSERT_TRUE(executor_.begin(spec));
  ASSERT_EQ(wait_for(Phase::kAwaitingConfirmation), Phase::kAwaitingConfirmation);
  wall_clock_jump = -kDay;
  EXPECT_EQ(wait_for(Phase::kEnded), Phase::kEnded);
  EXPECT_EQ(outcome(), Outcome::kRolledBack);
}

}  // namespace
}  // namespace flurry::agent
