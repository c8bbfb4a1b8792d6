#include "core/sys/limits.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>

namespace flurry::sys {
namespace {

// In a child, since it can't be taken back.
template <typename Work>
bool holds_in_a_child(Work work) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(work() ? 0 : 1);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status == 0;
}

TEST(Limits, MemoryIsWrittenIntoNoCoreFile) {
  EXPECT_TRUE(holds_in_a_child([] {
    rlimit many{RLIM_INFINITY, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_CORE, &many) != 0) ::getrlimit(RLIMIT_CORE, &many);
    keep_memory_private();
    rlimit limit{};
    ::getrlimit(RLIMIT_CORE, &limit);
    return limit.rlim_cur == 0 && limit.rlim_max == many.rlim_max;
  }));
#ifndef __SANITIZE_ADDRESS__
  EXPECT_TRUE(holds_in_a_child([] {
    keep_memory_private();
    return ::prctl(PR_GET_DUMPABLE) == 0;
  }));
#endif
}

TEST(Limits, OfOpenFilesAreRaisedAndNeverLowered) {
  EXPECT_TRUE(holds_in_a_child([] {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 100;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    const auto now = [&] {
      ::getrlimit(RLIMIT_NOFILE, &limit);
      return limit.rlim_cur;
    };
    raise_open_files(200);
    if (now() != 200) return false;
    raise_open_files(150);
    if (now() != 200) return false;
    raise_open_files(SIZE_MAX);
    return now() == limit.rlim_max;
  }));
}

}  // namespace
}  // namespace flurry::sys
