#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "cli/report/sink.h"
#include "cli/verbs/rollout_run.h"
#include "core/sys/children.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry {
namespace {

// A child that runs `act` and then waits for ever, in a group of its own or in ours.
template <typename Act>
pid_t start(bool has_group, Act act) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (has_group) ::setpgid(0, 0);
    act();
    for (;;) ::pause();
  }
  if (has_group) ::setpgid(pid, pid);
  return pid;
}

int signal_that_ended(pid_t pid) {
  int status = 0;
  return ::waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

TEST(Children, AreEndedAndKilledWhereTheyDontEnd) {
  const pid_t quiet = start(false, [] {});
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t stubborn = start(true, [&] {
    ::signal(SIGTERM, SIG_IGN);
    EXPECT_EQ(::write(ends[1], "x", 1), 1);
  });
  char byte = 0;
  ASSERT_EQ(::read(ends[0], &byte, 1), 1);
  sys::end_children(Millis(300));
  EXPECT_EQ(signal_that_ended(quiet), SIGTERM);
  EXPECT_EQ(signal_that_ended(stubborn), SIGKILL);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(ReadLine, EndsWithTheLineTheFileOrTheUsersInterruption) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ASSERT_EQ(::write(ends[1], "yes\nno", 6), 6);
  EXPECT_EQ(read_line(ends[0], {}), "yes");
  std::stop_source stop;
  std::jthread interrupt([&] { stop.request_stop(); });
  EXPECT_EQ(read_line(ends[0], stop.get_token()), std::nullopt);
  ASSERT_EQ(::write(ends[1], "maybe", 5), 5);
  ::close(ends[1]);
  const auto last = read_line(ends[0], {});
  ASSERT_TRUE(last);
  EXPECT_TRUE(last->ends_with("maybe")) << *last;
  ::close(ends[0]);
}

TEST(FdSink, KeepsTheReasonForWhichItsTextIsLost) {
  const sys::Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  FdSink lost(full.get());
  lost.write("");
  EXPECT_EQ(lost.error_number(), 0);
  lost.write("text");
  lost.write("more");
  EXPECT_EQ(lost.error_number(), ENOSPC);
}

}  // namespace
}  // namespace flurry
