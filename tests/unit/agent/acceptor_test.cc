#include "agent/acceptor.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "core/sys/clock.h"
#include "tests/unit/agent/temp_dir.h"

namespace flurry::agent {
namespace {

constexpr int kPatienceMs = 10'000;

sys::Fd dial(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fd.reset();
  return fd;
}

// What the other end says first; empty: it ended the connection, or said nothing in time.
std::string first_byte(const sys::Fd& fd) {
  pollfd p{fd.get(), POLLIN, 0};
  char byte;
  if (::poll(&p, 1, kPatienceMs) <= 0 || ::read(fd.get(), &byte, 1) != 1) return "";
  return {byte};
}

class AcceptorTest : public testing::Test {
 protected:
  // Greets what connects, and keeps it.
  void start(size_t max) {
    auto started = Acceptor::start(path_, max,
                                   {[this](sys::Fd fd) {
                                      [[maybe_unused]] const ssize_t n = ::write(fd.get(), "!", 1);
                                      const std::lock_guard lock(mutex_);
                                      kept_.push_back(std::move(fd));
                                    },
                                    [this](size_t open) {
                                      const std::lock_guard lock(mutex_);
                                      most_ = std::max(most_, open);
                                      count_ = open;
                                    }});
    ASSERT_TRUE(started) << started.error().message;
    acceptor_ = *std::move(started);
  }
  bool comes_to(size_t count) {
    for (const TimePoint until = sys::now() + Millis(kPatienceMs); sys::now() < until; ::usleep(1000)) {
      const std::lock_guard lock(mutex_);
      if (count_ == count) return true;
    }
    return false;
  }

  TempDir dir_;
  const std::string path_ = dir_.str() + "/socket";
  std::mutex mutex_;
  std::vector<sys::Fd> kept_;
  size_t count_ = 0;
  size_t most_ = 0;
  std::unique_ptr<Acceptor> acceptor_;
};

TEST_F(AcceptorTest, ManyInSilenceKeepNobodyOut) {
  start(4);
  std::vector<sys::Fd> silent;
  for (int i = 0; i < 40; ++i) {
    silent.push_back(dial(path_));
    ASSERT_EQ(first_byte(silent.back()), "!") << i;
  }
  EXPECT_EQ(first_byte(silent.front()), "") << "the oldest was ended";
  EXPECT_EQ(most_, 4u);
}

TEST_F(AcceptorTest, NoticesTheEndOfAConnectionFromEitherSide) {
  start(4);
  const sys::Fd ended_by_us = dial(path_);
  {
    const sys::Fd ended_by_them = dial(path_);
    ASSERT_EQ(first_byte(ended_by_them), "!");
    ASSERT_TRUE(comes_to(2));
  }
  EXPECT_TRUE(comes_to(1));
  ::shutdown(ended_by_us.get(), SHUT_WR);
  ASSERT_EQ(first_byte(ended_by_us), "!") << "half closed is open";
  {
    const std::lock_guard lock(mutex_);
    for (const auto& fd : kept_) ::shutdown(fd.get(), SHUT_RDWR);
  }
  EXPECT_TRUE(comes_to(0));
}

TEST_F(AcceptorTest, OnlyItsOwnUserCanOpenTheSocket) {
  start(4);
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(AcceptorTest, ServesNoOtherUserEvenThroughASocketThatIsOpenToAll) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to be somebody else";
  start(4);
  ASSERT_EQ(::chmod(path_.c_str(), 0777), 0);
  ASSERT_EQ(::chmod(dir_.str().c_str(), 0777), 0);
  const pid_t other = ::fork();
  if (other == 0) {
    if (::setuid(65534) != 0) ::_exit(2);
    const sys::Fd fd = dial(path_);
    ::_exit(!fd.is_open() ? 3 : first_byte(fd).empty() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(other, &status, 0), other);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(first_byte(dial(path_)), "!");
}

}  // namespace
}  // namespace flurry::agent
