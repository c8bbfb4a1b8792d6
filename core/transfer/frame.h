#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace flurry::transfer {

// Frames of the copy protocol: u8 type, u32 little-endian length of the payload, payload. Payloads are
// messages of proto/flurry/v1/copy.proto, but for kNarChunk, which is raw bytes, and kBlock, kRawBlock,
// kOnLane and kLaneChunk.
constexpr size_t kFrameHeaderSize = 5;
constexpr size_t kFramePayloadMax = 1 << 20;

enum class FrameType : uint8_t {
  kHello = 1,       // controller: CopyHello
  kPaths = 2,       // controller: CopyPaths, as many frames as the closure needs
  kMissing = 3,     // agent: CopyMissing
  kPathInfo = 4,    // controller: CopyPathInfo, then the path's NAR
  kNarChunk = 5,    // controller: bytes of the NAR that is being sent
  kStored = 6,      // agent: CopyStored
  kDone = 7,        // agent: CopyDone, its last frame
  kError = 8,       // either side: CopyError, its last frame
  kBlock = 9,       // controller: whole frames, compressed (block.h); FrameStream unpacks them
  kRawBlock = 10,   // controller: whole frames, as they are; the same
  kOnLane = 11,     // controller: u8 number of the lane (lane_writer.h) that the next block of chunks is on
  kFetched = 12,    // agent: CopyFetched
  kLaneChunk = 13,  // controller: empty; stands for the next frame of that block, a kNarChunk
};

// Is it there only to hold or point to other frames?
constexpr bool is_wrapping(FrameType type) {
  return type == FrameType::kBlock || type == FrameType::kRawBlock || type == FrameType::kOnLane ||
         type == FrameType::kLaneChunk;
}

struct Frame {
  FrameType type = FrameType::kError;
  std::string_view payload;
};

// Appends the header of a frame whose payload has `size` bytes, at most kFramePayloadMax.
void put_frame_header(std::string& out, FrameType type, size_t size);
std::string encode_frame(FrameType type, std::string_view payload);

// The frame at the start of `bytes`, or nothing when it is not complete yet; it covers kFrameHeaderSize +
// payload.size() bytes. kInvalidInput as soon as the header is wrong. The payload points into `bytes`.
Result<std::optional<Frame>> decode_frame(std::string_view bytes);

}  // namespace flurry::transfer
