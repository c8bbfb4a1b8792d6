#include "core/transfer/frame_stream.h"

#include "core/sys/clock.h"

namespace flurry::transfer {
namespace {

// Written in one go; the deadline counts anew for each, so a slow link is no idle one.
constexpr size_t kSlice = 64 << 10;

}  // namespace

Result<void> FrameStream::send(FrameType type, std::string_view payload) {
  duplex_.consume(taken_);
  taken_ = 0;
  std::string header;
  put_frame_header(header, type, payload.size());
  RETURN_IF_ERROR(duplex_.send(header, sys::now() + idle_timeout_));
  return send_frames(payload);
}

Result<void> FrameStream::send_frames(std::string_view bytes) {
  duplex_.consume(taken_);
  taken_ = 0;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(kSlice, bytes.size())))
    RETURN_IF_ERROR(duplex_.send(bytes.substr(0, kSlice), sys::now() + idle_timeout_));
  return {};
}

// A block holds whole frames and no further block, so that what it becomes is bounded.
Result<std::optional<Frame>> FrameStream::take_from_block() {
  const auto frame = decode_frame(block_);
  if (!frame || !*frame || (*frame)->type == FrameType::kBlock)
    return Error{ErrorKind::kInvalidInput, "a block of the copy does not hold whole frames"};
  block_.remove_prefix(kFrameHeaderSize + (*frame)->payload.size());
  return frame;
}

Result<std::optional<Frame>> FrameStream::take() {
  if (!block_.empty()) return take_from_block();
  duplex_.consume(taken_);
  taken_ = 0;
  ASSIGN_OR_RETURN(const auto frame, decode_frame(duplex_.input()));
  if (frame) taken_ = kFrameHeaderSize + frame->payload.size();
  if (!frame || frame->type != FrameType::kBlock) return frame;
  ASSIGN_OR_RETURN(block_, unpacker_.unpack(frame->payload));
  return take_from_block();
}

Result<std::optional<Frame>> FrameStream::receive() {
  for (;;) {
    ASSIGN_OR_RETURN(const auto frame, take());
    if (frame) return frame;
    ASSIGN_OR_RETURN(const bool is_open, duplex_.receive(sys::now() + idle_timeout_));
    if (is_open) continue;
    if (duplex_.input().empty()) return std::optional<Frame>();
    return Error{ErrorKind::kFailed, "the stream ended within a frame"};
  }
}

Result<std::optional<Frame>> FrameStream::poll() {
  duplex_.consume(taken_);
  taken_ = 0;
  RETURN_IF_ERROR(duplex_.receive_ready());
  return take();
}

}  // namespace flurry::transfer
