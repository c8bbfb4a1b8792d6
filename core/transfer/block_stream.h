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

// Frames that are gathered and sent a block at a time, compressed where that is faster, over lanes where
// there are some. Errors are those of FrameStream::send. One thread.
class BlockStream {
 public:
  BlockStream(FrameStream& frames, LaneWriter& lanes) : frames_(frames), lanes_(lanes) {}

  Result<void> add(FrameType type, std::string_view payload);
  // Hands on what is gathered.
  Result<void> flush();

  // Packs whole frames, at most kBlockContentMax, as this stream would now.
  PackedBlock pack(std::string_view frames);
  // Hands on a block; nothing may be gathered.
  Result<void> send(SharedBlock block);

  // Nothing more goes through: what failed was the stream.
  bool is_broken() const { return is_broken_; }

  const SentBytes& sent() const { return sent_; }

 private:
  using Clock = std::chrono::steady_clock;

  Result<void> check(Result<void> sent);
  void account(uint64_t content, uint64_t wire);

  FrameStream& frames_;
  LaneWriter& lanes_;
  BlockPacker packer_;
  CompressionChoice choice_;
  std::string gathered_;
  SentBytes sent_;
  Clock::time_point gathered_since_;
  Clock::time_point last_end_ = Clock::now();    // of the block before
  Clock::time_point read_until_, packed_until_;  // of this one
  bool is_broken_ = false;
  bool is_own_ = false;  // it was packed here
};

}  // namespace flurry::transfer
