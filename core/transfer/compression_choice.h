#pragma once

#include <cstddef>
#include <cstdint>

namespace flurry::transfer {

// How one block went out.
struct BlockSent {
  uint64_t content_bytes = 0;
  uint64_t work_micros = 0;  // reading and compressing it
  uint64_t wait_micros = 0;  // until the stream had taken it
};

// Which zstd level the next block gets, 0 for none, by what was measured: the rate of content is what counts,
// so a level is left for the next one when that was faster by an eighth. While the sender mostly waits for
// the link, more compression is tried, else less. A trial that did not pay is made again after twice as many
// blocks. No I/O, no clock.
class CompressionChoice {
 public:
  int level() const;
  void sent(const BlockSent& block);

 private:
  static constexpr uint64_t kPatienceMin = 8;

  // Content over time, of the blocks of one trial or of a stretch of the chosen level.
  struct Stretch {
    uint64_t blocks = 0, bytes = 0, micros = 0, wait_micros = 0;
    void add(const BlockSent& block);
    double rate() const;
  };

  void begin_trial();
  void end_trial();

  size_t chosen_ = 1;                 // of the levels; some compression costs little where the link is fast
  size_t tried_ = 1;                  // differs from chosen_ during a trial
  uint64_t patience_ = kPatienceMin;  // blocks until the next trial
  uint64_t skipped_ = 0;
  bool more_did_not_pay_ = false;  // in the trial before
  Stretch of_chosen_, of_trial_;
};

}  // namespace flurry::transfer
