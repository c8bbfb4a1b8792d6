#include "core/transfer/frame_stream.h"

#include <algorithm>

#include "core/sys/clock.h"
#include "core/transfer/stream_mark.h"

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

Result<Frame> FrameStream::next_of(Block& block) {
  const auto frame = decode_frame(block.rest);
  if (!frame || !*frame)
    return Error{ErrorKind::kInvalidInput, "a block of the copy does not hold whole frames"};
  block.rest.remove_prefix(kFrameHeaderSize + (*frame)->payload.size());
  return **frame;
}

// A block holds no further block, so that what it becomes is bounded.
Result<Frame> FrameStream::take_from_block() {
  ASSIGN_OR_RETURN(const Frame frame, next_of(block_));
  if (frame.type == FrameType::kLaneChunk) return take_from_lane();
  if (is_wrapping(frame.type))
    return Error{ErrorKind::kInvalidInput, "a block of the copy does not hold whole frames"};
  return frame;
}

// Whoever got at a lane could else say what the bytes are, and the host would take them for it.
Result<Frame> FrameStream::take_from_lane() {
  ASSIGN_OR_RETURN(const Frame frame, next_of(lane_block_));
  if (frame.type != FrameType::kNarChunk)
    return Error{ErrorKind::kInvalidInput, "a lane of the copy holds something else than bytes of a NAR"};
  return frame;
}

// Its content outlives the input buffer, which sending moves.
Result<void> FrameStream::open_block(const Frame& frame, Block& into) {
  if (frame.type == FrameType::kBlock) {
    ASSIGN_OR_RETURN(into.rest, into.unpacker.unpack(frame.payload));
    return {};
  }
  if (frame.type != FrameType::kRawBlock || frame.payload.empty())
    return Error{ErrorKind::kInvalidInput, "a lane of the copy holds something else than blocks"};
  into.raw.assign(frame.payload);
  into.rest = into.raw;
  return {};
}

Result<void> FrameStream::receive_on_lane(const Frame& frame) {
  if (!lanes_ || frame.payload.size() != 1)
    return Error{ErrorKind::kInvalidInput, "a block of the copy is on a lane that isn't there"};
  if (!lane_block_.rest.empty())
    return Error{ErrorKind::kInvalidInput, "a lane of the copy holds more than belongs to it"};
  const auto number = static_cast<uint8_t>(frame.payload[0]);
  ASSIGN_OR_RETURN(sys::Duplex* const lane, lanes_(number, sys::now() + idle_timeout_));
  for (;;) {
    ASSIGN_OR_RETURN(const auto block, decode_frame(lane->input()));
    if (block) {
      RETURN_IF_ERROR(open_block(*block, lane_block_));
      lane->consume(kFrameHeaderSize + block->payload.size());
      return {};
    }
    ASSIGN_OR_RETURN(const bool is_open, lane->receive(sys::now() + idle_timeout_));
    if (!is_open) return Error{ErrorKind::kFailed, "a lane of the copy ended too early"};
  }
}

// As far as it has come.
Result<void> FrameStream::pass_over_greeting() {
  const std::string_view input = duplex_.input();
  const size_t at = input.find(kStreamMark);
  expects_mark_ = at == input.npos;
  const size_t over =
      expects_mark_ ? input.size() - std::min(input.size(), kStreamMark.size() - 1) : at + kStreamMark.size();
  greeted_ += over;
  duplex_.consume(over);
  if (greeted_ <= kGreetingMax + kStreamMark.size()) return {};
  return Error{ErrorKind::kFailed, "the login shell prints too much before it runs a command"};
}

Result<std::optional<Frame>> FrameStream::take() {
  if (expects_mark_) RETURN_IF_ERROR(pass_over_greeting());
  if (expects_mark_) return std::optional<Frame>();
  for (;;) {
    if (!block_.rest.empty()) {
      ASSIGN_OR_RETURN(const Frame frame, take_from_block());
      return std::optional(frame);
    }
    duplex_.consume(taken_);
    taken_ = 0;
    ASSIGN_OR_RETURN(const auto frame, decode_frame(duplex_.input()));
    if (!frame) return frame;
    taken_ = kFrameHeaderSize + frame->payload.size();
    if (frame->type == FrameType::kLaneChunk) {
      ASSIGN_OR_RETURN(const Frame chunk, take_from_lane());
      return std::optional(chunk);
    }
    if (!is_wrapping(frame->type)) return frame;
    if (frame->type == FrameType::kOnLane)
      RETURN_IF_ERROR(receive_on_lane(*frame));
    else
      RETURN_IF_ERROR(open_block(*frame, block_));
  }
}

bool FrameStream::has_frame() const {
  if (expects_mark_) return duplex_.input().find(kStreamMark) != std::string_view::npos;
  if (!block_.rest.empty()) return true;
  const auto frame = decode_frame(duplex_.input().substr(taken_));
  // What is on a lane need not be here.
  return frame && *frame && (*frame)->type != FrameType::kOnLane;
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
