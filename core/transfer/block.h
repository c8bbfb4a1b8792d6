#pragma once

#include <string>
#include <string_view>

#include "core/delta/zstd_frame.h"
#include "core/result.h"

namespace flurry::transfer {

// Whole frames that travel together, compressed: the payload of a kBlock frame is u32 little-endian length of
// the content, and a zstd frame of it. One thread an object.

// Content of one block; the receiver holds one of them.
constexpr size_t kBlockContentMax = 1 << 20;

class BlockPacker {
 public:
  // The payload of a block of `content`, valid until the next call; nothing when it would save too little to
  // be worth the unpacking.
  std::string_view pack(std::string_view content, int level);

 private:
  delta::FrameWriter writer_;
  std::string payload_;
};

class BlockUnpacker {
 public:
  // The content of a block, valid until the next call. kInvalidInput, also when it is not as long as it says.
  Result<std::string_view> unpack(std::string_view payload);

 private:
  delta::FrameReader reader_;
  std::string content_;
};

}  // namespace flurry::transfer
