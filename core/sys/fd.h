#pragma once

#include <unistd.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/result.h"
#include "core/time.h"

namespace flurry::sys {

// Owns a file descriptor and closes it.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  bool is_open() const { return fd_ >= 0; }
  void reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

// Two ends of a connected stream socket, close-on-exec, blocking.
Result<std::pair<Fd, Fd>> socket_pair();

// Reads up to `buffer.size()` bytes; 0 at end of file. kTimedOut when nothing came by `deadline`.
// Works on blocking and non-blocking descriptors.
Result<size_t> read_some(int fd, std::span<char> buffer, TimePoint deadline);

// Writes all bytes, or fails; kTimedOut when the peer took too long. Needs a socket or a
// non-blocking descriptor to keep the deadline; a write to a closed socket is an error, no SIGPIPE.
Result<void> write_all(int fd, std::string_view bytes, TimePoint deadline);

// Writes as many of the bytes as go without waiting, 0 when there is no room. To a blocking pipe only after
// poll() has called it writable.
Result<size_t> write_ready(int fd, std::string_view bytes);

// "connect: Connection refused" from an errno value, of the kind that it says: kNoSpace, kExhausted, else
// kFailed.
Error errno_error(const std::string& what, int error_number);

}  // namespace flurry::sys
