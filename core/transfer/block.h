#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/delta/zstd_frame.h"
#include "core/result.h"
#include "core/transfer/frame.h"

namespace flurry::transfer {

// Whole frames that travel together, compressed: the payload of a kBlock frame is u32 little-endian length of
// the content, and a zstd frame of it. One thread an object.

// Content of one block; the receiver holds one of them.
constexpr size_t kBlockContentMax = 1 << 20;

// A block that several streams may send; the last one that has yet to do so holds it, hence the pointer.
struct PackedBlock {
  FrameType type = FrameType::kRawBlock;
  std::string payload;
  uint64_t content = 0;  // bytes
};
using SharedBlock = std::shared_ptr<const PackedBlock>;

class BlockPacker {
 public:
  // The payload of a block of `content`; nothing when it would save too little to be worth the unpacking.
  std::string pack(std::string_view content, int level);

 private:
  delta::FrameWriter writer_;
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
