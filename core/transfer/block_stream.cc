#include "core/transfer/block_stream.h"

#include <algorithm>
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
  if (!has_room(type, size)) RETURN_IF_ERROR(flush());
  if (size > kBlockContentMax) return say(encode_frame(type, payload));
  const auto now = Clock::now();
  if (is_empty()) {
    gathered_since_ = now;
    is_apart_ = lanes_.has_lanes();
  }
  std::string& into = is_apart_ && type != FrameType::kNarChunk ? words_ : gathered_;
  put_frame_header(into, type, payload.size());
  into += payload;
  if (is_apart_ && type == FrameType::kNarChunk) put_frame_header(words_, FrameType::kLaneChunk, 0);
  return now < gathered_since_ + kGatherMax ? Result<void>() : flush();
}

bool BlockStream::has_room(FrameType type, size_t size) const {
  const std::string& into = is_apart_ && type != FrameType::kNarChunk ? words_ : gathered_;
  return std::max(into.size() + size, words_.size() + kFrameHeaderSize) <= kBlockContentMax;
}

Result<void> BlockStream::flush() {
  if (is_empty()) return {};
  const std::string words = std::exchange(words_, {});
  if (!gathered_.empty()) {
    auto block = std::make_shared<PackedBlock>(pack(gathered_));
    gathered_.clear();
    RETURN_IF_ERROR(hand_on(std::move(block), is_apart_));
  }
  return words.empty() ? Result<void>() : say(words);
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
  FLURRY_CHECK(is_empty());
  if (!lanes_.has_lanes()) return hand_on(std::move(block), false);
  RETURN_IF_ERROR(hand_on(std::move(block), true));
  return say(encode_frame(FrameType::kLaneChunk, ""));
}

Result<void> BlockStream::hand_on(SharedBlock block, bool over_lane) {
  const uint64_t content = block->content;
  const auto sent = over_lane ? lanes_.send_on_lane(std::move(block)) : lanes_.send_on_main(*block);
  ASSIGN_OR_RETURN(const uint64_t wire, check(sent));
  account(content, wire);
  return {};
}

// On the main stream. They are few beside what they speak of, so they say nothing about the link.
Result<void> BlockStream::say(std::string_view frames) {
  const int level = frames.size() > kBlockContentMax ? 0 : choice_.level();
  auto packed = level == 0 ? std::string() : packer_.pack(frames, level);
  const PackedBlock block = packed.empty()
                                ? PackedBlock{FrameType::kRawBlock, std::string(frames), frames.size()}
                                : PackedBlock{FrameType::kBlock, std::move(packed), frames.size()};
  ASSIGN_OR_RETURN(const uint64_t wire, check(lanes_.send_on_main(block)));
  sent_.content += frames.size();
  sent_.wire += wire;
  last_end_ = Clock::now();
  return {};
}

Result<uint64_t> BlockStream::check(const Result<size_t>& wire) {
  is_broken_ = is_broken_ || !wire;
  if (!wire) return wire.error();
  return static_cast<uint64_t>(*wire);
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
