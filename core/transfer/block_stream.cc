#include "core/transfer/block_stream.h"

#include <utility>

#include "core/check.h"

namespace flurry::transfer {

Result<void> BlockStream::add(FrameType type, std::string_view payload) {
  FLURRY_CHECK(payload.size() <= kFramePayloadMax);
  const size_t size = kFrameHeaderSize + payload.size();
  if (gathered_.size() + size > kBlockContentMax) RETURN_IF_ERROR(flush());
  if (size > kBlockContentMax) return check(frames_.send(type, payload));
  put_frame_header(gathered_, type, payload.size());
  gathered_ += payload;
  return {};
}

Result<void> BlockStream::flush() {
  if (gathered_.empty()) return {};
  const int level = choice_.level();
  read_until_ = Clock::now();
  const auto packed = level == 0 ? std::string_view() : packer_.pack(gathered_, level);
  packed_until_ = Clock::now();
  if (!packed.empty())
    RETURN_IF_ERROR(check(lanes_.send(FrameType::kBlock, packed)));
  else if (lanes_.has_lanes())
    RETURN_IF_ERROR(check(lanes_.send(FrameType::kRawBlock, gathered_)));
  else
    RETURN_IF_ERROR(check(frames_.send_frames(gathered_)));
  is_own_ = true;
  account(gathered_.size(), packed.empty() ? gathered_.size() : kFrameHeaderSize + packed.size());
  gathered_.clear();
  return {};
}

PackedBlock BlockStream::pack(std::string_view frames) {
  const int level = choice_.level();
  read_until_ = Clock::now();
  const auto packed = level == 0 ? std::string_view() : packer_.pack(frames, level);
  packed_until_ = Clock::now();
  is_own_ = true;
  if (packed.empty()) return {FrameType::kRawBlock, std::string(frames), frames.size()};
  return {FrameType::kBlock, std::string(packed), frames.size()};
}

Result<void> BlockStream::send(const PackedBlock& block) {
  FLURRY_CHECK(gathered_.empty());
  RETURN_IF_ERROR(check(lanes_.send(block.type, block.payload)));
  account(block.content, kFrameHeaderSize + block.payload.size());
  return {};
}

Result<void> BlockStream::check(Result<void> sent) {
  is_broken_ = is_broken_ || !sent;
  return sent;
}

// What another stream has packed says nothing about what packing costs.
void BlockStream::account(uint64_t content, uint64_t wire) {
  const auto end = Clock::now();
  const auto micros = [](Clock::duration time) {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
  };
  if (std::exchange(is_own_, false))
    choice_.sent({content, wire, micros(read_until_ - last_end_), micros(packed_until_ - read_until_),
                  micros(end - packed_until_)});
  sent_.content += content;
  sent_.wire += wire;
  last_end_ = end;
}

}  // namespace flurry::transfer
