#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "core/sys/clock.h"
#include "core/sys/duplex.h"
#include "core/transfer/block.h"
#include "core/transfer/frame.h"

namespace flurry::transfer {

// Where a lane's bytes come from, by the lane's number; waits for it at most until the deadline.
using LaneSource = std::function<Result<sys::Duplex*>(uint8_t lane, TimePoint deadline)>;

// Frames over two descriptors, which it does not own. A wait without any progress for `idle_timeout` is
// kTimedOut. One thread.
class FrameStream {
 public:
  FrameStream(int in_fd, int out_fd, Millis idle_timeout)
      : duplex_(in_fd, out_fd, 2 * (kFrameHeaderSize + kFramePayloadMax)), idle_timeout_(idle_timeout) {}

  // From now on blocks may come on lanes too. Else they are refused.
  void set_lanes(LaneSource lanes) { lanes_ = std::move(lanes); }

  Result<void> send(FrameType type, std::string_view payload);

  // Frames that are encoded already.
  Result<void> send_frames(std::string_view bytes);

  // Waits until one of `out_fds` takes bytes, and takes in what comes meanwhile.
  Result<void> wait_for_room(std::span<const int> out_fds) {
    return duplex_.wait_for_room(out_fds, sys::now() + idle_timeout_);
  }

  // The next frame, never a block but what is in it; its payload is valid until the next call. Nothing at
  // the end of the stream; an end within a frame is kFailed.
  Result<std::optional<Frame>> receive();

  // Whether the next frame is here already.
  bool has_frame() const;

  // The next frame if it is here already. Does not wait.
  Result<std::optional<Frame>> poll();

 private:
  Result<std::optional<Frame>> take();
  Result<std::optional<Frame>> take_from_block();
  Result<void> open_block(const Frame& frame);
  Result<void> receive_on_lane(const Frame& frame);

  sys::Duplex duplex_;
  Millis idle_timeout_;
  size_t taken_ = 0;  // bytes of the frame that was handed out last
  BlockUnpacker unpacker_;
  std::string raw_;  // content of a kRawBlock
  LaneSource lanes_;
  std::string_view block_;  // what was not handed out yet of the block that came last
};

}  // namespace flurry::transfer
