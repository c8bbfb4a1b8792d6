#pragma once

#include <cstddef>
#include <cstdint>

namespace flurry::transfer {

// How one block went out.
struct BlockSent {
  uint64_t content_bytes = 0;
  uint64_t wire_bytes = 0;
  uint64_t read_micros = 0;  // from the end of the block before until its content was there
  uint64_t pack_micros = 0;  // compressing it
  uint64_t wait_micros = 0;  // until there was room for it
};

// Which zstd level the next block gets, 0 for none: the one with the highest rate of content, by what was
// measured of reading, compressing and the link (which is also the cipher or the receiver, whichever is
// slowest). What is between us and the link holds many blocks, so a trial of another level would measure that
// instead; how the levels compare to one another is known beforehand. No I/O, no clock.
class CompressionChoice {
 public:
  int level() const;
  void sent(const BlockSent& block);

 private:
  // Blocks until the link can be judged.
  struct Stretch {
    uint64_t blocks = 0, content = 0, wire = 0, read_micros = 0, pack_micros = 0, wait_micros = 0;
  };

  void judge_link();
  double micros_for(size_t level) const;

  size_t chosen_ = 1;         // of the levels
  double read_ = 1 / 2000.0;  // microseconds for a byte of content
  double pack_ = 1 / 430.0;   // the same, by level -1
  double left_ = 0.48;        // bytes on the wire of a byte of content, by level -1
  double link_ = 0;           // microseconds for a byte on the wire, as far as is known
  double measured_link_ = 0;  // the same, when it last held us up
  uint64_t patience_ = 1;     // stretches without a wait until it is taken to be faster
  uint64_t quiet_ = 0;        // of those
  Stretch stretch_;
};

}  // namespace flurry::transfer
