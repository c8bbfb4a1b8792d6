#include "core/transfer/block_stream.h"

#include <utility>

#include "core/check.h"

namespace flurry::transfer {
namespace {

// A MiB of deltas may stand for the work of a second. Meanwhile the receiver could do its part.
constexpr std::chrono::milliseconds kGatherMax{20};

}  // namespace

Result<void> BlockStream::add(FrameType type, std::string_view payload) {
  FLURRY_CHECK(payload.size() <= kFramePayloadMax);
  const size_t size = kFrameHeaderSize + payload.size();
  if (gathered_.size() + size > kBlockContentMax) RETURN_IF_ERROR(flush());
  if (size > kBlockContentMax) return check(frames_.send(type, payload));
  const auto now = Clock::now();
  if (gathered_.empty()) gathered_since_ = now;
  put_frame_header(gathered_, type, payload.size());
  gathered_ += payload;
  return now < gathered_since_ + kGatherMax ? Result<void>() : flush();
}

Result<void> BlockStream::flush() {
  if (gathered_.empty()) return {};
  auto block = std::make_shared<PackedBlock>(pack(gathered_));
  gathered_.clear();
  return send(std::move(block));
}

PackedBlock BlockStream::pack(std::string_view frames) {
  const int level = choice_.level();
  read_until_ = Clock::now();
  auto packed = level == 0 ? std::string() : packer_.pack(frames, level);
  packed_until_ = Clock::now();
  is_own_ = true;
  if (packed.empty()) return {FrameType::kRawBlock, std::string(frames), frames.size()};
  return {FrameType::kBlock, std::move(packed), frames.size()};
}

Result<void> BlockStream::send(SharedBlock block) {
  FLURRY_CHECK(gathered_.empty());
  const uint64_t content = block->content;
  const auto wire = lanes_.send(std::move(block));
  is_broken_ = is_broken_ || !wire;
  if (!wire) return wire.error();
  account(content, *wire);
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
