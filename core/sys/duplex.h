#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/time.h"

namespace flurry::sys {

// Both directions of a byte stream. While it waits for room to write it takes in what the peer has
// sent, so two ends that write to each other at the same time don't block each other for ever.
// Does not own the descriptors, which may be one socket or two pipes. One thread.
class Duplex {
 public:
  // At most `input_limit` bytes are held back unread; the peer has to wait after that.
  Duplex(int in_fd, int out_fd, size_t input_limit)
      : in_fd_(in_fd), out_fd_(out_fd), input_limit_(input_limit) {}

  // Writes all bytes by `deadline` or fails. kTimedOut, or kFailed when the peer is gone; what the
  // peer sent before it went can still be read.
  Result<void> send(std::string_view bytes, TimePoint deadline);

  // Writes as many of the bytes as go at once. Where none do, waits until there is room, or until more has
  // come in: then 0. Errors as for send().
  Result<size_t> send_some(std::string_view bytes, TimePoint deadline);

  // Waits until one of `out_fds` takes bytes or is broken, and takes in what comes meanwhile. kTimedOut.
  Result<void> wait_for_room(std::span<const int> out_fds, TimePoint deadline);

  // What was received and not yet consumed; valid until the next call of another method.
  std::string_view input() const { return {buffer_.data() + begin_, end_ - begin_}; }
  void consume(size_t count);

  // Waits until more input is there. False at the end of the stream.
  Result<bool> receive(TimePoint deadline);

  // Takes in what has arrived already, without waiting.
  Result<void> receive_ready();

 private:
  Result<bool> read_once();
  bool make_room();

  int in_fd_;
  int out_fd_;
  size_t input_limit_;
  std::vector<char> buffer_;  // received bytes are in [begin_, end_)
  size_t begin_ = 0;
  size_t end_ = 0;
  bool at_end_ = false;
};

}  // namespace flurry::sys
