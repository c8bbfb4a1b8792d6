#include "agent/check_calls.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <thread>

#include "core/sys/clock.h"
#include "tests/unit/agent/slow_checks.h"

namespace flurry::agent {
namespace {

constexpr Millis kPatience{10'000};

std::vector<HealthCheck> named_checks(int count) {
  std::vector<HealthCheck> checks(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) checks[static_cast<size_t>(i)].name = std::to_string(i);
  return checks;
}

bool comes_to(const std::atomic<int>& number, int wanted) {
  const TimePoint until = sys::now() + kPatience;
  while (number != wanted && sys::now() < until) ::poll(nullptr, 0, 1);
  return number == wanted;
}

const auto kStays = [] { return false; };

TEST(CheckCalls, RunFewAtATimeWhoeverAsksAndAnswerInOrder) {
  SlowChecks system;
  CheckCalls calls(system);
  std::vector<Result<std::vector<CheckResult>>> answers(3, Error{});
  {
    std::vector<std::jthread> callers;
    for (auto& answer : answers) callers.emplace_back([&] { answer = calls.run(named_checks(20), kStays); });
    EXPECT_TRUE(comes_to(system.now, 8));
    ::poll(nullptr, 0, 50);
    system.is_let_go = true;
  }
  EXPECT_EQ(system.most, 8);
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_EQ(answer->size(), 20u);
    for (size_t i = 0; i < 20; ++i) EXPECT_EQ((*answer)[i].message, std::to_string(i));
  }
}

TEST(CheckCalls, AreRefusedAtOnceWhereTooManyAskAndGoAgainAfterwards) {
  SlowChecks system;
  CheckCalls calls(system);
  {
    std::vector<std::jthread> callers;
    std::atomic<int> refused = 0;
    for (int i = 0; i < 20; ++i)
      callers.emplace_back([&] {
        const auto answer = calls.run(named_checks(1), kStays);
        if (!answer && answer.error().kind == ErrorKind::kExhausted) ++refused;
      });
    EXPECT_TRUE(comes_to(refused, 12)) << refused;
    system.is_let_go = true;
  }
  EXPECT_TRUE(calls.run(named_checks(1), kStays));
}

TEST(CheckCalls, OfSomebodyWhoIsGoneEndAndFreeTheirPlaces) {
  SlowChecks system;
  CheckCalls calls(system);
  std::atomic<bool> is_gone = false;
  std::jthread caller([&] {
    const auto answer = calls.run(named_checks(30), [&] { return is_gone.load(); });
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::kCancelled);
  });
  EXPECT_TRUE(comes_to(system.now, 8));
  is_gone = true;
  caller.join();
  EXPECT_EQ(system.now, 0);
  system.is_let_go = true;
  EXPECT_TRUE(calls.run(named_checks(10), kStays));
}

}  // namespace
}  // namespace flurry::agent
