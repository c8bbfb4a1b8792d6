// The framing of a copy: a frame is the same whether its bytes come at once or in pieces, and ends where its
// header says.
#include <memory>

#include "core/sys/clock.h"
#include "core/sys/fd.h"
#include "core/transfer/frame_stream.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

using transfer::Frame;

// The frames at the front of `bytes`, and how their row ended: whole, in the middle of one, or malformed.
struct Frames {
  std::vector<Frame> frames;
  std::string_view rest;
  bool is_malformed = false;
  std::vector<std::unique_ptr<std::string>> blocks;  // what their frames point into
};

// False when the block is malformed, or a frame in it: those before that one still count.
bool add_block(const Frame& block, Frames& out) {
  out.is_malformed = true;
  // Nobody has set up lanes.
  if (block.type == transfer::FrameType::kOnLane || block.type == transfer::FrameType::kLaneChunk)
    return false;
  transfer::BlockUnpacker unpacker;
  const bool is_raw = block.type == transfer::FrameType::kRawBlock;
  const auto content = is_raw ? Result<std::string_view>(block.payload) : unpacker.unpack(block.payload);
  if (!content || content->empty()) return false;
  FLURRY_CHECK(content->size() <= transfer::kBlockContentMax);
  out.blocks.push_back(std::make_unique<std::string>(*content));
  for (std::string_view rest = *out.blocks.back(); !rest.empty();) {
    const auto frame = transfer::decode_frame(rest);
    if (!frame || !*frame || transfer::is_wrapping((*frame)->type)) return false;
    out.frames.push_back(**frame);
    rest.remove_prefix(transfer::kFrameHeaderSize + (*frame)->payload.size());
  }
  out.is_malformed = false;
  return true;
}

Frames decode_all(std::string_view bytes) {
  Frames out;
  for (;;) {
    const auto frame = transfer::decode_frame(bytes);
    out.rest = bytes;
    out.is_malformed = !frame;
    if (!frame || !*frame) return out;
    const std::string encoded = transfer::encode_frame((*frame)->type, (*frame)->payload);
    FLURRY_CHECK(bytes.starts_with(encoded));
    // Less than all of it is never taken for something.
    for (const size_t cut : {encoded.size() - 1, encoded.size() / 2, size_t{1}}) {
      const auto part = transfer::decode_frame(bytes.substr(0, cut));
      FLURRY_CHECK(part && !*part);
    }
    bytes.remove_prefix(encoded.size());
    if (!transfer::is_wrapping((*frame)->type))
      out.frames.push_back(**frame);
    else if (!add_block(**frame, out))
      return out;
  }
}

}  // namespace

void run_one(std::string_view bytes) {
  const Frames wanted = decode_all(bytes);

  auto ends = sys::socket_pair();
  FLURRY_CHECK(ends);
  FLURRY_CHECK(sys::write_all(ends->second.get(), bytes, sys::now() + Millis(60'000)));
  ends->second.reset();
  transfer::FrameStream stream(ends->first.get(), ends->first.get(), Millis(60'000));
  for (const Frame& frame : wanted.frames) {
    const auto got = stream.receive();
    FLURRY_CHECK(got && *got && (*got)->type == frame.type && (*got)->payload == frame.payload);
  }
  const auto end = stream.receive();
  FLURRY_CHECK(end.has_value() == (wanted.rest.empty() && !wanted.is_malformed));
  if (end) FLURRY_CHECK(!*end);
  if (end) return;
  FLURRY_CHECK(end.error().kind == (wanted.is_malformed ? ErrorKind::kInvalidInput : ErrorKind::kFailed));
  check_told(end.error(), bytes.size());
}

}  // namespace flurry::fuzz
