#include "core/transfer/block_stream.h"

#include "core/check.h"

namespace flurry::transfer {

Result<void> BlockStream::add(FrameType type, std::string_view payload) {
  FLURRY_CHECK(payload.size() <= kFramePayloadMax);
  const size_t size = kFrameHeaderSize + payload.size();
  if (gathered_.size() + size > kBlockContentMax) RETURN_IF_ERROR(flush());
  if (size > kBlockContentMax) return frames_.send(type, payload);
  put_frame_header(gathered_, type, payload.size());
  gathered_ += payload;
  return {};
}

Result<void> BlockStream::flush() {
  if (gathered_.empty()) return {};
  const int level = choice_.level();
  const auto read_until = Clock::now();
  const auto packed = level == 0 ? std::string_view() : packer_.pack(gathered_, level);
  const auto packed_until = Clock::now();
  if (!packed.empty())
    RETURN_IF_ERROR(lanes_.send(FrameType::kBlock, packed));
  else if (lanes_.has_lanes())
    RETURN_IF_ERROR(lanes_.send(FrameType::kRawBlock, gathered_));
  else
    RETURN_IF_ERROR(frames_.send_frames(gathered_));
  const auto end = Clock::now();
  const auto micros = [](Clock::duration time) {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
  };
  const size_t wire = packed.empty() ? gathered_.size() : kFrameHeaderSize + packed.size();
  choice_.sent({gathered_.size(), wire, micros(read_until - last_end_), micros(packed_until - read_until),
                micros(end - packed_until)});
  sent_.content += gathered_.size();
  sent_.wire += wire;
  last_end_ = end;
  gathered_.clear();
  return {};
}

}  // namespace flurry::transfer
