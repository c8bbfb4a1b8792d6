#pragma once

#include <chrono>

#include "core/transfer/block.h"
#include "core/transfer/compression_choice.h"
#include "core/transfer/frame_stream.h"
#include "core/transfer/lane_writer.h"

namespace flurry::transfer {

struct SentBytes {
  uint64_t content = 0;  // as frames
  uint64_t wire = 0;     // as sent
};

// Frames that are gathered and sent a block at a time, compressed where that is faster. Where there are
// lanes, the bytes of NARs go over them and everything else over the main stream. Errors are those of
// FrameStream::send. One thread.
class BlockStream {
 public:
  explicit BlockStream(LaneWriter& lanes) : lanes_(lanes) {}

  Result<void> add(FrameType type, std::string_view payload);
  // Hands on what is gathered.
  Result<void> flush();

  // Packs whole frames, at most kBlockContentMax, as this stream would now.
  PackedBlock pack(std::string_view frames);
  // Hands on a block of one kNarChunk; nothing may be gathered.
  Result<void> send(SharedBlock block);

  // Nothing more goes through: what failed was the stream.
  bool is_broken() const { return is_broken_; }

  const SentBytes& sent() const { return sent_; }

 private:
  using Clock = std::chrono::steady_clock;

  bool is_empty() const { return gathered_.empty() && words_.empty(); }
  bool has_room(FrameType type, size_t size) const;
  Result<uint64_t> check(const Result<size_t>& wire);
  Result<void> hand_on(SharedBlock block, bool over_lane);
  Result<void> say(std::string_view frames);
  void account(uint64_t content, uint64_t wire);

  LaneWriter& lanes_;
  BlockPacker packer_;
  CompressionChoice choice_;
  std::string gathered_;
  std::string words_;      // that go on the main stream, while what is gathered goes over a lane
  bool is_apart_ = false;  // so it is now
  SentBytes sent_;
  Clock::time_point gathered_since_;
  Clock::time_point last_end_ = Clock::now();    // of the block before
  Clock::time_point read_until_, packed_until_;  // of this one
  bool is_broken_ = false;
  bool is_own_ = false;  // it was packed here
};

}  // namespace flurry::transfer
