#include "core/sys/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "core/sys/clock.h"

namespace flurry::sys {
namespace {

// Waits until `fd` is ready for `events`.
Result<void> wait_ready(int fd, short events, TimePoint deadline) {
  for (;;) {
    const auto left = std::clamp<long long>((deadline - now()).count(), 0, INT_MAX);
    pollfd p{fd, events, 0};
    const int n = ::poll(&p, 1, static_cast<int>(left));
    if (n > 0) return {};
    if (n == 0) return Error{ErrorKind::kTimedOut, "no progress before the deadline"};
    if (errno != EINTR) return errno_error("poll", errno);
  }
}

ErrorKind kind_of(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return ErrorKind::kNoSpace;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EAGAIN:  // of fork(): no more processes
      return ErrorKind::kExhausted;
    default:
      return ErrorKind::kFailed;
  }
}

ssize_t write_without_sigpipe(int fd, std::string_view bytes) {
  const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n >= 0 || errno != ENOTSOCK) return n;
  return ::write(fd, bytes.data(), bytes.size());
}

}  // namespace

Error errno_error(const std::string& what, int error_number) {
  return {kind_of(error_number), what + ": " + std::strerror(error_number)};
}

Result<std::pair<Fd, Fd>> socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return errno_error("socketpair", errno);
  return std::pair(Fd(ends[0]), Fd(ends[1]));
}

Result<size_t> read_some(int fd, std::span<char> buffer, TimePoint deadline) {
  for (;;) {
    RETURN_IF_ERROR(wait_ready(fd, POLLIN, deadline));
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR && errno != EAGAIN) return errno_error("read", errno);
  }
}

Result<void> write_all(int fd, std::string_view bytes, TimePoint deadline) {
  while (!bytes.empty()) {
    RETURN_IF_ERROR(wait_ready(fd, POLLOUT, deadline));
    const ssize_t n = write_without_sigpipe(fd, bytes);
    if (n >= 0)
      bytes.remove_prefix(static_cast<size_t>(n));
    else if (errno != EINTR && errno != EAGAIN)
      return errno_error("write", errno);
  }
  return {};
}

Result<size_t> write_ready(int fd, std::string_view bytes) {
  ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  // A blocking pipe that poll() called writable takes PIPE_BUF bytes without blocking; no more is promised.
  if (n < 0 && errno == ENOTSOCK) n = ::write(fd, bytes.data(), std::min<size_t>(bytes.size(), PIPE_BUF));
  if (n >= 0) return static_cast<size_t>(n);
  if (errno == EINTR || errno == EAGAIN) return size_t{0};
  return errno_error("write", errno);
}

}  // namespace flurry::sys
