#include "core/sys/duplex.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
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

}  // namespace

Result<void> Duplex::send(std::string_view bytes, TimePoint deadline) {
  while (!bytes.empty()) {
    const int fds[] = {out_fd_};
    RETURN_IF_ERROR(wait_for_room(fds, deadline));
    ASSIGN_OR_RETURN(const size_t written, write_ready(out_fd_, bytes));
    bytes.remove_prefix(written);
  }
  return {};
}

Result<size_t> Duplex::send_some(std::string_view bytes, TimePoint deadline) {
  pollfd polls[] = {{out_fd_, POLLOUT, 0}, {!at_end_ && make_room() ? in_fd_ : -1, POLLIN, 0}};
  const int n = ::poll(polls, 2, poll_millis(deadline));
  if (n == 0) return Error{ErrorKind::kTimedOut, "the other side took nothing before the deadline"};
  if (n < 0 && errno != EINTR) return errno_error("poll", errno);
  if (n < 0) return size_t{0};
  if (polls[1].revents != 0 && !read_once()) at_end_ = true;
  return polls[0].revents == 0 ? Result<size_t>(0) : write_ready(out_fd_, bytes);
}

Result<void> Duplex::wait_for_room(std::span<const int> out_fds, TimePoint deadline) {
  std::vector<pollfd> polls;
  for (const int fd : out_fds) polls.push_back({fd, POLLOUT, 0});
  polls.push_back({-1, POLLIN, 0});
  for (;;) {
    polls.back().fd = !at_end_ && make_room() ? in_fd_ : -1;
    const int n = ::poll(polls.data(), polls.size(), poll_millis(deadline));
    if (n == 0) return Error{ErrorKind::kTimedOut, "the other side took nothing before the deadline"};
    if (n < 0 && errno != EINTR) return errno_error("poll", errno);
    if (n < 0) continue;
    // An error here means that the peer is gone; the next write reports it.
    const bool has_input = polls.back().revents != 0;
    if (has_input && !read_once()) at_end_ = true;
    if (n > (has_input ? 1 : 0)) return {};
  }
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
