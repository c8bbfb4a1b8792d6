#include "core/sys/duplex.h"

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry::sys {
namespace {

constexpr size_t kReadChunk = 64 << 10;

int poll_millis(TimePoint deadline) {
  return static_cast<int>(std::clamp<long long>((deadline - now()).count(), 0, INT_MAX));
}

bool is_transient(int error_number) { return error_number == EINTR || error_number == EAGAIN; }

// A blocking pipe that poll() called writable takes PIPE_BUF bytes without blocking, and no more is
// promised.
ssize_t write_ready(int fd, std::string_view bytes) {
  const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n >= 0 || errno != ENOTSOCK) return n;
  return ::write(fd, bytes.data(), std::min<size_t>(bytes.size(), PIPE_BUF));
}

}  // namespace

Result<void> Duplex::send(std::string_view bytes, TimePoint deadline) {
  while (!bytes.empty()) {
    const bool listen = !at_end_ && make_room();
    pollfd polls[2] = {{out_fd_, POLLOUT, 0}, {listen ? in_fd_ : -1, POLLIN, 0}};
    const int n = ::poll(polls, 2, poll_millis(deadline));
    if (n == 0) return Error{ErrorKind::kTimedOut, "the other side took nothing before the deadline"};
    if (n < 0 && errno != EINTR) return errno_error("poll", errno);
    if (n < 0) continue;
    // An error here means that the peer is gone; the write below reports it.
    if (polls[1].revents != 0 && !read_once()) at_end_ = true;
    if (polls[0].revents == 0) continue;
    const ssize_t written = write_ready(out_fd_, bytes);
    if (written >= 0)
      bytes.remove_prefix(static_cast<size_t>(written));
    else if (!is_transient(errno))
      return errno_error("write", errno);
  }
  return {};
}

void Duplex::consume(size_t count) {
  begin_ += std::min(count, end_ - begin_);
  if (begin_ == end_) begin_ = end_ = 0;
}

Result<bool> Duplex::receive(TimePoint deadline) {
  if (at_end_) return false;
  if (!make_room()) return Error{ErrorKind::kInvalidInput, "a message is longer than allowed"};
  for (;;) {
    pollfd p{in_fd_, POLLIN, 0};
    const int n = ::poll(&p, 1, poll_millis(deadline));
    if (n == 0) return Error{ErrorKind::kTimedOut, "no answer before the deadline"};
    if (n < 0 && errno != EINTR) return errno_error("poll", errno);
    if (n < 0) continue;
    const size_t before = end_;
    ASSIGN_OR_RETURN(const bool is_open, read_once());
    if (!is_open || end_ != before) return is_open;
  }
}

Result<void> Duplex::receive_ready() {
  while (!at_end_ && make_room()) {
    pollfd p{in_fd_, POLLIN, 0};
    if (::poll(&p, 1, 0) <= 0) return {};
    ASSIGN_OR_RETURN(const bool is_open, read_once());
    if (!is_open) return {};
  }
  return {};
}

// False at the end of the stream.
Result<bool> Duplex::read_once() {
  const ssize_t n = ::read(in_fd_, buffer_.data() + end_, buffer_.size() - end_);
  if (n < 0) {
    if (is_transient(errno)) return true;
    return errno_error("read", errno);
  }
  at_end_ = n == 0;
  end_ += static_cast<size_t>(n);
  return n > 0;
}

// False when the limit of unread bytes is reached.
bool Duplex::make_room() {
  if (end_ < buffer_.size() && buffer_.size() - end_ >= kReadChunk / 4) return true;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() - end_ < kReadChunk / 4 && buffer_.size() < input_limit_)
    buffer_.resize(std::min(input_limit_, std::max(2 * kReadChunk, buffer_.size() * 2)));
  return end_ < buffer_.size();
}

}  // namespace flurry::sys
