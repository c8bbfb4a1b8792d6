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
      : duplex_(in_fd, out_fd, 2 * (kFrameHeaderSize + kFramePayloadMax)),
        out_fd_(out_fd),
        idle_timeout_(idle_timeout) {}

  // From now on blocks may come on lanes too. Else they are refused. A lane brings nothing but bytes of NARs:
  // what is said about them, and which of them belong where, comes on the stream itself.
  void set_lanes(LaneSource lanes) { lanes_ = std::move(lanes); }

  Result<void> send(FrameType type, std::string_view payload);

  // Frames that are encoded already.
  Result<void> send_frames(std::string_view bytes);

  // What comes before the mark (stream_mark.h) is passed over. To be said before anything is received.
  void expect_mark() { expects_mark_ = true; }

  // Waits until one of `out_fds` takes bytes, and takes in what comes meanwhile.
  Result<void> wait_for_room(std::span<const int> out_fds) {
    return duplex_.wait_for_room(out_fds, sys::now() + idle_timeout_);
  }
  // For somebody who has more to wait for than this stream: where its own bytes go.
  int out_fd() const { return out_fd_; }

  // The next frame, never a block but what is in it; its payload is valid until the next call. Nothing at
  // the end of the stream; an end within a frame is kFailed.
  Result<std::optional<Frame>> receive();

  // Whether the next frame is here already.
  bool has_frame() const;

  // The next frame if it is here already. Does not wait.
  Result<std::optional<Frame>> poll();

 private:
  // A block, and what was not handed out of it yet.
  struct Block {
    BlockUnpacker unpacker;
    std::string raw;  // content of a kRawBlock
    std::string_view rest;
  };

  Result<void> pass_over_greeting();
  Result<std::optional<Frame>> take();
  Result<Frame> take_from_block();
  Result<Frame> take_from_lane();
  static Result<void> open_block(const Frame& frame, Block& into);
  static Result<Frame> next_of(Block& block);
  Result<void> receive_on_lane(const Frame& frame);

  sys::Duplex duplex_;
  int out_fd_;
  Millis idle_timeout_;
  size_t taken_ = 0;  // bytes of the frame that was handed out last
  bool expects_mark_ = false;
  size_t greeted_ = 0;  // bytes passed over
  LaneSource lanes_;
  Block block_;       // of the stream itself
  Block lane_block_;  // of a lane
};

}  // namespace flurry::transfer
