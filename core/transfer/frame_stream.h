#pragma once

#include <optional>

#include "core/sys/duplex.h"
#include "core/transfer/block.h"
#include "core/transfer/frame.h"

namespace flurry::transfer {

// Frames over two descriptors, which it does not own. A wait without any progress for `idle_timeout` is
// kTimedOut. One thread.
class FrameStream {
 public:
  FrameStream(int in_fd, int out_fd, Millis idle_timeout)
      : duplex_(in_fd, out_fd, 2 * (kFrameHeaderSize + kFramePayloadMax)), idle_timeout_(idle_timeout) {}

  Result<void> send(FrameType type, std::string_view payload);

  // Frames that are encoded already.
  Result<void> send_frames(std::string_view bytes);

  // The next frame, never a kBlock but what is in it; its payload is valid until the next call. Nothing at
  // the end of the stream; an end within a frame is kFailed.
  Result<std::optional<Frame>> receive();

  // The next frame if it is here already. Does not wait.
  Result<std::optional<Frame>> poll();

 private:
  Result<std::optional<Frame>> take();
  Result<std::optional<Frame>> take_from_block();

  sys::Duplex duplex_;
  Millis idle_timeout_;
  size_t taken_ = 0;  // bytes of the frame that was handed out last
  BlockUnpacker unpacker_;
  std::string_view block_;  // what was not handed out yet of the block that came last
};

}  // namespace flurry::transfer
