#include "agent/file_lock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/unit/agent/temp_dir.h"

namespace flurry::agent {
namespace {

TEST(FileLock, IsHeldByOneAtATimeAndEndsWithItsObject) {
  const TempDir dir;
  const std::string path = dir.str() + "/lock";
  EXPECT_FALSE(*FileLock::is_held(path)) << "no file yet";
  {
    const auto first = FileLock::try_take(path);
    ASSERT_TRUE(first && *first);
    EXPECT_TRUE(*FileLock::is_held(path));
    const auto second = FileLock::try_take(path);
    ASSERT_TRUE(second);
    EXPECT_FALSE(*second);
  }
  EXPECT_FALSE(*FileLock::is_held(path));
}

// A deployment must not be refused because somebody else was just looking.
TEST(FileLock, CanBeTakenWhileOthersAskWhetherItIsHeld) {
  const TempDir dir;
  const std::string path = dir.str() + "/lock";
  std::atomic<bool> is_enough = false;
  std::vector<std::jthread> askers;
  for (int i = 0; i < 4; ++i)
    askers.emplace_back([&] {
      while (!is_enough) static_cast<void>(FileLock::is_held(path).has_value());
    });
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto lock = FileLock::try_take(path);
    ASSERT_TRUE(lock);
    if (!*lock) ++refused;
  }
  is_enough = true;
  EXPECT_EQ(refused, 0);
}

}  // namespace
}  // namespace flurry::agent
