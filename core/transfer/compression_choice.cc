#include "core/transfer/compression_choice.h"

#include <algorithm>
#include <iterator>

namespace flurry::transfer {
namespace {

// Measured on 200 MB of shared libraries, a block of 1 MiB at a time, on one core: 441, 342, 199 and
// 76 MB/s; 0.388, 0.343, 0.306 and 0.286 of the content are left.
struct Level {
  int level;
  double work;
  double left;
};
constexpr Level kLevels[] = {{0, 0, 0}, {-1, 1, 1}, {1, 1.3, 0.88}, {3, 2.2, 0.79}, {6, 5.8, 0.74}};

// A link can be judged by so much, and one that is slow by less.
constexpr uint64_t kStretchBytes = 4 << 20;
constexpr uint64_t kStretchMicros = 1'000'000;
constexpr uint64_t kStretchBlocksMin = 2;
// Who waits less than this part of the time is not held up by the link.
constexpr uint64_t kWaitPart = 16;
// How much faster the link may be than what it had to carry: asked step by step, and less often where it then
// proved to be what it was.
constexpr double kGuess = 1.5;
constexpr uint64_t kPatienceMax = 16;
constexpr double kWorthIt = 1.1;

}  // namespace

int CompressionChoice::level() const { return kLevels[chosen_].level; }

void CompressionChoice::sent(const BlockSent& block) {
  stretch_.blocks += 1;
  stretch_.content += block.content_bytes;
  stretch_.wire += block.wire_bytes;
  stretch_.read_micros += block.read_micros;
  stretch_.pack_micros += block.pack_micros;
  stretch_.wait_micros += block.wait_micros;
  const uint64_t micros = stretch_.read_micros + stretch_.pack_micros + stretch_.wait_micros;
  if (stretch_.blocks < kStretchBlocksMin) return;
  if (stretch_.wire < kStretchBytes && micros < kStretchMicros) return;
  judge_link();
  stretch_ = {};
  size_t best = chosen_;
  for (size_t i = 0; i < std::size(kLevels); ++i)
    if (micros_for(i) * kWorthIt < micros_for(chosen_) && micros_for(i) < micros_for(best)) best = i;
  chosen_ = best;
}

void CompressionChoice::judge_link() {
  const auto ratio = [](uint64_t a, uint64_t b) {
    return static_cast<double>(a) / static_cast<double>(std::max<uint64_t>(b, 1));
  };
  read_ = ratio(stretch_.read_micros, stretch_.content);
  if (chosen_ > 0) {
    pack_ = ratio(stretch_.pack_micros, stretch_.content) / kLevels[chosen_].work;
    left_ = std::min(1.0, ratio(stretch_.wire, stretch_.content) / kLevels[chosen_].left);
  }
  const uint64_t micros = stretch_.read_micros + stretch_.pack_micros + stretch_.wait_micros;
  const double seen = ratio(micros, stretch_.wire);
  if (stretch_.wait_micros * kWaitPart >= micros) {
    const bool is_as_before = seen < kGuess * measured_link_ && measured_link_ < kGuess * seen;
    patience_ = is_as_before ? std::min(2 * patience_, kPatienceMax) : 1;
    link_ = measured_link_ = seen;
    quiet_ = 0;
  } else if (++quiet_ >= patience_) {
    link_ = (link_ > 0 ? std::min(link_, seen) : seen) / kGuess;
    quiet_ = 0;
  }
}

// For a byte of content: one thread reads and compresses it while others send what was compressed before.
double CompressionChoice::micros_for(size_t level) const {
  const double left = level == 0 ? 1 : left_ * kLevels[level].left;
  // What saves little more is only for links that leave half of a core's time to the cipher and the receiver.
  const double spare = kLevels[level].work > 1 ? 2 : 1;
  return std::max(spare * (read_ + pack_ * kLevels[level].work), link_ * left);
}

}  // namespace flurry::transfer
