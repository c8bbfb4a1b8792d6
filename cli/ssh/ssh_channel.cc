#include "cli/ssh/ssh_channel.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace flurry::ssh {
namespace {

// One buffer each way, and the most that a channel moves in a turn, so that none starves the others.
constexpr size_t kBufferSize = 256 << 10;
constexpr size_t kStderrTail = 64 << 10;
// What the server may send ahead: 100 ms of delay at 160 Mbit/s.
constexpr unsigned long kWindow = 2 << 20;
// libssh2 widens the window by itself whenever it falls below 3/4 of this plus the size of a read,
// however much lies unread. With a small start that happens only in need, and widen_window() does the
// rest by what was really taken; with a big one a slow reader's data would pile up without bound.
constexpr unsigned int kWindowAtOpen = 4096;
constexpr unsigned int kPacketMax = LIBSSH2_CHANNEL_PACKET_DEFAULT;

Error session_error(LIBSSH2_SESSION* session, const std::string& what) {
  char* text = nullptr;
  libssh2_session_last_error(session, &text, nullptr, 0);
  return {ErrorKind::kUnreachable, what + ": " + (text != nullptr ? text : "unknown error")};
}

bool is_again(ssize_t rc) { return rc == LIBSSH2_ERROR_EAGAIN; }

// The server said no to this channel; the session lives on.
bool is_refusal(int error) {
  return error == LIBSSH2_ERROR_CHANNEL_FAILURE || error == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED;
}

}  // namespace

Result<void> SshChannel::step(LIBSSH2_SESSION* session, Pace& pace) {
  switch (state_) {
    case State::kOpening:
      return step_opening(session, pace);
    case State::kStarting:
      return step_starting(session, pace);
    case State::kRunning:
      return step_running(session, pace);
    case State::kFreeing:
      step_freeing(pace);
      return {};
    case State::kDone:
      return {};
  }
  return {};
}

Result<void> SshChannel::step_opening(LIBSSH2_SESSION* session, Pace& pace) {
  if (!pace.may_open) return {};
  channel_ = libssh2_channel_open_ex(session, "session", 7, kWindowAtOpen, kPacketMax, nullptr, 0);
  if (channel_ == nullptr) {
    const int error = libssh2_session_last_errno(session);
    if (is_again(error)) {
      pace.may_open = false;
      return {};
    }
    auto failure = session_error(session, "open a channel");
    if (!is_refusal(error)) return failure;
    fail({ErrorKind::kRefused, failure.message});
    pace.moved = true;
    return {};
  }
  pace.moved = true;
  state_ = is_cancelled_ ? State::kFreeing : State::kStarting;
  return {};
}

Result<void> SshChannel::step_starting(LIBSSH2_SESSION* session, Pace& pace) {
  const int rc = libssh2_channel_process_startup(channel_, "exec", 4, start_.command.data(),
                                                 static_cast<unsigned int>(start_.command.size()));
  if (is_again(rc)) return {};
  pace.moved = true;
  if (rc == 0 && !is_cancelled_) {
    in_ = std::make_unique_for_overwrite<char[]>(kBufferSize);
    out_ = std::make_unique_for_overwrite<char[]>(kBufferSize);
    state_ = State::kRunning;
    widen_window();
    answer_opened({});
    return {};
  }
  if (rc != 0) {
    auto failure = session_error(session, "start the command");
    if (!is_refusal(rc)) return failure;
    failure.kind = ErrorKind::kRefused;
    answer_opened(failure);
    answer_ended(failure);
  }
  state_ = State::kFreeing;
  return {};
}

Result<void> SshChannel::step_running(LIBSSH2_SESSION* session, Pace& pace) {
  RETURN_IF_ERROR(pump_out(session, pace));
  RETURN_IF_ERROR(drain_stderr(session, pace));
  widen_window();
  RETURN_IF_ERROR(pump_in(session, pace));
  if (state_ == State::kRunning) finish_if_ended(session, pace);
  return {};
}

// False when the socket pair is full.
bool SshChannel::deliver(Pace& pace) {
  while (out_begin_ < out_end_ && !reader_gone_ && can_write_) {
    const ssize_t n = ::send(start_.pump.get(), out_.get() + out_begin_, out_end_ - out_begin_,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      out_begin_ += static_cast<size_t>(n);
      pace.moved = true;
    } else if (errno == EAGAIN) {
      can_write_ = false;
    } else if (errno != EINTR) {
      reader_gone_ = true;
    }
  }
  if (reader_gone_ && out_begin_ < out_end_) {
    // As with a pipe: output that nobody can read any more ends the command.
    cancel();
    return false;
  }
  return out_begin_ == out_end_;
}

Result<void> SshChannel::pump_out(LIBSSH2_SESSION* session, Pace& pace) {
  for (size_t budget = kBufferSize; budget > 0 && state_ == State::kRunning;) {
    if (!deliver(pace)) return {};
    const ssize_t n = libssh2_channel_read_ex(channel_, 0, out_.get(), kBufferSize);
    if (n == 0 || is_again(n)) return {};
    if (n < 0) return session_error(session, "read");
    out_begin_ = 0;
    out_end_ = static_cast<size_t>(n);
    taken_ += out_end_;
    budget -= std::min(budget, out_end_);
    pace.moved = true;
  }
  deliver(pace);
  return {};
}

Result<void> SshChannel::drain_stderr(LIBSSH2_SESSION* session, Pace& pace) {
  std::array<char, 16 << 10> buffer;
  for (size_t budget = kBufferSize; budget > 0 && state_ == State::kRunning;) {
    const ssize_t n =
        libssh2_channel_read_ex(channel_, SSH_EXTENDED_DATA_STDERR, buffer.data(), buffer.size());
    if (n == 0 || is_again(n)) return {};
    if (n < 0) return session_error(session, "read stderr");
    stderr_tail_.append(buffer.data(), static_cast<size_t>(n));
    if (stderr_tail_.size() > 2 * kStderrTail) stderr_tail_.erase(0, stderr_tail_.size() - kStderrTail);
    taken_ += static_cast<size_t>(n);
    budget -= std::min(budget, static_cast<size_t>(n));
    pace.moved = true;
  }
  return {};
}

void SshChannel::widen_window() {
  if (state_ != State::kRunning || (taken_ > 0 && taken_ < kWindow / 8)) return;
  unsigned long unread = 0;
  const unsigned long window = libssh2_channel_window_read_ex(channel_, &unread, nullptr);
  if (window + unread > kWindow - kWindow / 8) return;
  unsigned int result = 0;
  libssh2_channel_receive_window_adjust2(channel_, kWindow - window - unread, 1, &result);
  taken_ = 1;  // from now on only by what is taken
}

Result<void> SshChannel::pump_in(LIBSSH2_SESSION* session, Pace& pace) {
  for (size_t budget = kBufferSize; budget > 0 && state_ == State::kRunning && pace.may_send;) {
    if (in_begin_ == in_end_) {
      if (local_end_ || !can_read_) break;
      const ssize_t n = ::recv(start_.pump.get(), in_.get(), kBufferSize, MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) {
        can_read_ = false;
        break;
      }
      pace.moved = true;
      in_begin_ = 0;
      in_end_ = n > 0 ? static_cast<size_t>(n) : 0;
      local_end_ = n <= 0;
      continue;
    }
    const ssize_t n = libssh2_channel_write_ex(channel_, 0, in_.get() + in_begin_, in_end_ - in_begin_);
    if (n == 0 || is_again(n)) return {};
    // The command may have closed its stdin or ended: what it does not want is dropped.
    if (n == LIBSSH2_ERROR_CHANNEL_CLOSED || n == LIBSSH2_ERROR_CHANNEL_EOF_SENT) {
      in_begin_ = in_end_;
      local_end_ = end_sent_ = true;
      return {};
    }
    if (n < 0) return session_error(session, "write");
    in_begin_ += static_cast<size_t>(n);
    budget -= std::min(budget, static_cast<size_t>(n));
    pace.moved = true;
  }
  if (local_end_ && in_begin_ == in_end_ && !end_sent_ && state_ == State::kRunning)
    end_sent_ = !is_again(libssh2_channel_send_eof(channel_));
  return {};
}

void SshChannel::finish_if_ended(LIBSSH2_SESSION* session, Pace& pace) {
  if (libssh2_channel_eof(channel_) != 1 || (out_begin_ < out_end_ && !reader_gone_)) return;
  if (!end_told_) {
    ::shutdown(start_.pump.get(), SHUT_WR);
    end_told_ = pace.moved = true;
  }
  if (libssh2_channel_wait_closed(channel_) != 0) return;
  RemoteExit exit;
  char* signal = nullptr;
  size_t signal_size = 0;
  libssh2_channel_get_exit_signal(channel_, &signal, &signal_size, nullptr, nullptr, nullptr, nullptr);
  if (signal != nullptr) exit.signal.assign(signal, signal_size);
  libssh2_free(session, signal);
  if (exit.signal.empty()) exit.exit_code = libssh2_channel_get_exit_status(channel_);
  if (stderr_tail_.size() > kStderrTail) stderr_tail_.erase(0, stderr_tail_.size() - kStderrTail);
  exit.standard_error = std::move(stderr_tail_);
  answer_ended(std::move(exit));
  state_ = State::kFreeing;
  pace.moved = true;
}

void SshChannel::step_freeing(Pace& pace) {
  start_.pump.reset();
  if (is_again(libssh2_channel_free(channel_))) return;
  channel_ = nullptr;
  state_ = State::kDone;
  pace.moved = true;
}

void SshChannel::on_ready(uint32_t events) {
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) can_read_ = true;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) can_write_ = true;
}

void SshChannel::cancel() {
  const Error error{ErrorKind::kCancelled, "the command's channel was closed"};
  is_cancelled_ = true;
  answer_opened(error);
  answer_ended(error);
  // libssh2 must be let finish what it began with this channel; then it is freed.
  if (state_ == State::kRunning) state_ = State::kFreeing;
}

void SshChannel::fail(const Error& error) {
  answer_opened(error);
  answer_ended(error);
  start_.pump.reset();
  channel_ = nullptr;
  state_ = State::kDone;
}

void SshChannel::answer_opened(Result<void> result) {
  if (!std::exchange(opened_answered_, true)) start_.opened.set_value(std::move(result));
}

void SshChannel::answer_ended(Result<RemoteExit> result) {
  if (!std::exchange(ended_answered_, true)) start_.ended.set_value(std::move(result));
}

}  // namespace flurry::ssh
