#include "cli/ssh/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "core/sys/clock.h"
#include "core/sys/spawn.h"

namespace flurry::ssh {

constexpr off_t kStderrTail = 64 << 10;
// A remote command may print for ever; what comes after this is lost, and ssh goes on without it.
constexpr off_t kStderrMax = 4 << 20;

Result<Child> Child::start(const std::vector<std::string>& argv, sys::Fd theirs) {
  sys::Fd err(::memfd_create("stderr", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!err.is_open() || ::ftruncate(err.get(), kStderrMax) != 0 ||
      ::fcntl(err.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0)
    return sys::errno_error("memfd", errno);
  pid_t pid = -1;
  const int error = sys::spawn({.program = argv[0],
                                .argv = argv,
                                .standard_input = theirs.get(),
                                .standard_output = theirs.get(),
                                .standard_error = err.get()},
                               pid);
  if (error != 0) return Error{ErrorKind::kUnsupported, sys::errno_error("start " + argv[0], error).message};
  return Child(pid, sys::Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))), std::move(err));
}

Child::Child(pid_t pid, sys::Fd pid_fd, sys::Fd stderr_file)
    : pid_(pid), pid_fd_(std::move(pid_fd)), stderr_(std::move(stderr_file)) {}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pid_fd_(std::move(other.pid_fd_)),
      stderr_(std::move(other.stderr_)),
      status_(other.status_) {}

Child::~Child() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
  }
}

Result<int> Child::wait(TimePoint deadline) {
  while (pid_ >= 0) {
    const auto left = std::clamp<long long>((deadline - sys::now()).count(), 0, INT_MAX);
    pollfd p{pid_fd_.get(), POLLIN, 0};
    if (::poll(&p, 1, static_cast<int>(left)) == 0)
      return Error{ErrorKind::kTimedOut, "no end before the deadline"};
    if (::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
  }
  return status_;
}

void Child::signal(int number) {
  if (pid_ >= 0) ::kill(pid_, number);
}

std::string Child::standard_error() const {
  // The program shares our file offset, so it stands where its output ends.
  const off_t size = ::lseek(stderr_.get(), 0, SEEK_CUR);
  std::string text(static_cast<size_t>(std::clamp<off_t>(size, 0, kStderrTail)), '\0');
  const ssize_t n = ::pread(stderr_.get(), text.data(), text.size(), size - static_cast<off_t>(text.size()));
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

}  // namespace flurry::ssh
