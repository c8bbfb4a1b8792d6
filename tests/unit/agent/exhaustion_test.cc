#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/file_io.h"
#include "agent/tools.h"
#include "core/sys/fd.h"
#include "tests/unit/agent/temp_dir.h"

namespace flurry::agent {
namespace {

// While it lives, this process gets no further descriptor.
class NoDescriptors {
 public:
  NoDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const sys::Fd next(::open("/", O_PATH | O_CLOEXEC));  // the lowest free number
    const rlimit none{static_cast<rlim_t>(next.get()), before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST(Exhaustion, IsToldFromAFailureThatStays) {
  const TempDir dir;
  const std::string file = dir.str() + "/file";
  ASSERT_TRUE(write_file_durably(file, "x"));
  {
    const NoDescriptors none;
    EXPECT_EQ(run_tool({"true"}, Millis(5000)).error().kind, ErrorKind::kExhausted);
    EXPECT_EQ(read_file(file, 10).error().kind, ErrorKind::kExhausted);
    EXPECT_EQ(write_file_durably(file, "y").error().kind, ErrorKind::kExhausted);
    EXPECT_EQ(sync_dir(dir.str()).error().kind, ErrorKind::kExhausted);
  }
  EXPECT_TRUE(run_tool({"true"}, Millis(5000)));
  EXPECT_EQ(read_file(file + "x", 10).error().kind, ErrorKind::kFailed);
}

TEST(Exhaustion, IsAlsoOfProcessesAndMemory) {
  for (const int number : {EMFILE, ENFILE, ENOMEM, ENOBUFS, EAGAIN})
    EXPECT_EQ(sys::errno_error("do", number).kind, ErrorKind::kExhausted) << number;
  EXPECT_EQ(sys::errno_error("do", ENOSPC).kind, ErrorKind::kNoSpace);
  EXPECT_EQ(sys::errno_error("do", ENOENT).kind, ErrorKind::kFailed);
}

}  // namespace
}  // namespace flurry::agent
