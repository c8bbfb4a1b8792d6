#pragma once

#include <libssh2.h>

#include <cstdint>
#include <future>
#include <memory>
#include <string>

#include "cli/transport.h"

namespace flurry::ssh {

using ChannelId = uint32_t;

// How the session's outgoing buffer looks to its channels.
struct Pace {
  bool may_open = false;  // libssh2 opens one channel of a session at a time
  bool may_send = false;  // the socket keeps up
  bool moved = false;     // out: something happened, so another turn may do more
};

// One command on a host: opens its channel, then pumps between it and our end of a socket pair.
// Bounded: one buffer each way, and what the receive window lets the server send ahead (libssh2 holds
// that). Belongs to the loop thread.
class SshChannel {
 public:
  struct Start {
    std::string command;
    sys::Fd pump;  // non-blocking
    std::promise<Result<void>> opened;
    std::promise<Result<RemoteExit>> ended;
  };

  explicit SshChannel(Start start) : start_(std::move(start)) {}
  SshChannel(const SshChannel&) = delete;

  // One turn. An error means that the session is broken.
  Result<void> step(LIBSSH2_SESSION* session, Pace& pace);

  // Epoll saw something at the pump's end.
  void on_ready(uint32_t events);

  // Nobody wants it any more: it is closed as soon as libssh2 can.
  void cancel();
  // The session is gone and its libssh2 channels with it.
  void fail(const Error& error);

  bool is_opening() const { return state_ == State::kOpening && channel_ == nullptr; }
  bool is_done() const { return state_ == State::kDone; }
  int pump_fd() const { return start_.pump.get(); }

 private:
  enum class State { kOpening, kStarting, kRunning, kFreeing, kDone };

  Result<void> step_opening(LIBSSH2_SESSION* session, Pace& pace);
  Result<void> step_starting(LIBSSH2_SESSION* session, Pace& pace);
  Result<void> step_running(LIBSSH2_SESSION* session, Pace& pace);
  void step_freeing(Pace& pace);
  Result<void> pump_in(LIBSSH2_SESSION* session, Pace& pace);
  Result<void> pump_out(LIBSSH2_SESSION* session, Pace& pace);
  Result<void> drain_stderr(LIBSSH2_SESSION* session, Pace& pace);
  bool deliver(Pace& pace);
  void widen_window();
  void finish_if_ended(LIBSSH2_SESSION* session, Pace& pace);
  void answer_opened(Result<void> result);
  void answer_ended(Result<RemoteExit> result);

  Start start_;
  LIBSSH2_CHANNEL* channel_ = nullptr;
  State state_ = State::kOpening;
  bool is_cancelled_ = false;
  bool opened_answered_ = false;
  bool ended_answered_ = false;

  // From the host to the caller.
  std::unique_ptr<char[]> out_;
  size_t out_begin_ = 0, out_end_ = 0;
  bool can_write_ = true;     // the socket pair takes more
  bool reader_gone_ = false;  // the caller closed its end
  bool end_told_ = false;     // we shut our side down after the end of the remote's stdout
  size_t taken_ = 0;          // since the window was last widened
  std::string stderr_tail_;

  // From the caller to the host.
  std::unique_ptr<char[]> in_;
  size_t in_begin_ = 0, in_end_ = 0;
  bool can_read_ = true;
  bool local_end_ = false;  // the caller wrote its last byte
  bool end_sent_ = false;
};

}  // namespace flurry::ssh
