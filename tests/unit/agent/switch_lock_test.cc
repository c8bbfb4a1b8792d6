#include "agent/switch_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys/fd.h"
#include "tests/unit/agent/temp_dir.h"

namespace flurry::agent {
namespace {

class SwitchLockTest : public testing::Test {
 protected:
  // As switch-to-configuration makes it.
  SwitchLockTest() {
    if (::chmod(dir_.str().c_str(), 0755) != 0 || ::mkdir((dir_.str() + "/nixos").c_str(), 0755) != 0)
      ::abort();
    const sys::Fd fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    if (::fchmod(fd.get(), 0644) != 0) ::abort();
  }

  ~SwitchLockTest() override {
    if (holder_ <= 0) return;
    ::kill(holder_, SIGKILL);
    ::waitpid(holder_, nullptr, 0);
  }

  // A process of `user` that holds the lock.
  bool is_held_by(uid_t user) {
    int ready[2];
    if (::pipe(ready) != 0) return false;
    holder_ = ::fork();
    if (holder_ == 0) {
      const bool is_them = ::setuid(user) == 0;
      const int fd = ::open(path_.c_str(), O_RDONLY);
      const bool holds = is_them && fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0;
      if (holds && ::write(ready[1], "x", 1) == 1) ::pause();
      ::_exit(1);
    }
    ::close(ready[1]);
    char byte;
    const bool holds = ::read(ready[0], &byte, 1) == 1;
    ::close(ready[0]);
    return holds;
  }

  // As switch-to-configuration does it.
  bool can_be_taken() const {
    const sys::Fd fd(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
    return ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
  }

  mode_t mode() const {
    struct stat info {};
    return ::stat(path_.c_str(), &info) == 0 ? info.st_mode & 0777 : 0;
  }

  TempDir dir_;
  const std::string path_ = dir_.str() + "/nixos/switch-to-configuration.lock";
  pid_t holder_ = -1;
};

TEST_F(SwitchLockTest, NobodyElseCanOpenItAfterwards) {
  ASSERT_TRUE(guard_switch_lock(path_));
  EXPECT_EQ(mode(), 0600u);
  EXPECT_TRUE(can_be_taken());
}

TEST_F(SwitchLockTest, IsMadeWhereThereIsNone) {
  ::unlink(path_.c_str());
  ::rmdir((dir_.str() + "/nixos").c_str());
  ASSERT_TRUE(guard_switch_lock(path_));
  EXPECT_EQ(mode(), 0600u);
}

TEST_F(SwitchLockTest, IsTakenAwayFromAnotherUserWhoHoldsIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to be somebody else";
  ASSERT_TRUE(is_held_by(65534));
  ASSERT_FALSE(can_be_taken());
  ASSERT_TRUE(guard_switch_lock(path_));
  EXPECT_TRUE(can_be_taken());
  EXPECT_EQ(mode(), 0600u);
}

TEST_F(SwitchLockTest, StaysWithASwitchThatRuns) {
  ASSERT_TRUE(is_held_by(::getuid()));
  ASSERT_TRUE(guard_switch_lock(path_));
  EXPECT_FALSE(can_be_taken());
}

}  // namespace
}  // namespace flurry::agent
