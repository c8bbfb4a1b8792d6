#include "core/transfer/frame.h"

#include "core/check.h"

namespace flurry::transfer {
namespace {

// A shell's start-up files that print on stdout are the usual cause; the text shows which.
Error not_a_frame(std::string_view bytes) {
  std::string shown;
  for (char c : bytes.substr(0, 80)) shown += c >= 0x20 && c < 0x7f ? c : '?';
  return {ErrorKind::kInvalidInput,
          "the other side does not speak the copy protocol; it sent '" + shown + "'"};
}

}  // namespace

void put_frame_header(std::string& out, FrameType type, size_t size) {
  FLURRY_CHECK(size <= kFramePayloadMax);
  out += static_cast<char>(type);
  for (int i = 0; i < 4; ++i, size >>= 8) out += static_cast<char>(size & 0xff);
}

std::string encode_frame(FrameType type, std::string_view payload) {
  std::string frame;
  frame.reserve(kFrameHeaderSize + payload.size());
  put_frame_header(frame, type, payload.size());
  frame += payload;
  return frame;
}

Result<std::optional<Frame>> decode_frame(std::string_view bytes) {
  if (bytes.empty()) return std::optional<Frame>();
  const auto type = static_cast<unsigned char>(bytes[0]);
  if (type < static_cast<uint8_t>(FrameType::kHello) || type > static_cast<uint8_t>(FrameType::kLaneChunk))
    return not_a_frame(bytes);
  if (bytes.size() < kFrameHeaderSize) return std::optional<Frame>();
  size_t size = 0;
  for (int i = 4; i >= 1; --i) size = size << 8 | static_cast<unsigned char>(bytes[i]);
  if (size > kFramePayloadMax) return not_a_frame(bytes);
  if (bytes.size() < kFrameHeaderSize + size) return std::optional<Frame>();
  return std::optional<Frame>(Frame{static_cast<FrameType>(type), bytes.substr(kFrameHeaderSize, size)});
}

}  // namespace flurry::transfer
