#include "core/transfer/compression_choice.h"

#include <algorithm>
#include <iterator>

namespace flurry::transfer {
namespace {

constexpr int kLevels[] = {0, 1, 3};
// The first blocks of a trial fill what the level before left empty between us and the link.
constexpr uint64_t kSkipped = 4;
constexpr uint64_t kTrialBlocks = 4;
constexpr uint64_t kPatienceMax = 256;
constexpr double kWorthIt = 1.125;

}  // namespace

void CompressionChoice::Stretch::add(const BlockSent& block) {
  ++blocks;
  bytes += block.content_bytes;
  micros += block.work_micros + block.wait_micros;
  wait_micros += block.wait_micros;
}

double CompressionChoice::Stretch::rate() const {
  return static_cast<double>(bytes) / static_cast<double>(std::max<uint64_t>(micros, 1));
}

int CompressionChoice::level() const { return kLevels[tried_]; }

void CompressionChoice::sent(const BlockSent& block) {
  if (tried_ == chosen_) {
    of_chosen_.add(block);
    if (of_chosen_.blocks >= patience_) begin_trial();
  } else if (skipped_ < kSkipped) {
    ++skipped_;
  } else {
    of_trial_.add(block);
    if (of_trial_.blocks == kTrialBlocks) end_trial();
  }
}

void CompressionChoice::begin_trial() {
  const bool waits_mostly = 2 * of_chosen_.wait_micros > of_chosen_.micros;
  const bool waits_always = 10 * of_chosen_.wait_micros > 9 * of_chosen_.micros;
  // What it waits for may be the receiver's core, which has less to do with less compression. Not so where
  // hardly anything but waiting is left, and a trial without compression would cost most.
  const bool is_link_bound = waits_mostly && (waits_always || !more_did_not_pay_);
  const bool has_next = is_link_bound ? chosen_ + 1 < std::size(kLevels) : chosen_ > 0;
  skipped_ = 0;
  of_trial_ = {};
  if (has_next)
    tried_ = is_link_bound ? chosen_ + 1 : chosen_ - 1;
  else
    more_did_not_pay_ = is_link_bound;
  if (!has_next) of_chosen_ = {};  // the link may change: measured anew
}

void CompressionChoice::end_trial() {
  if (of_trial_.rate() > kWorthIt * of_chosen_.rate()) {
    chosen_ = tried_;
    more_did_not_pay_ = false;
    patience_ = kPatienceMin;
  } else {
    more_did_not_pay_ = tried_ > chosen_;
    tried_ = chosen_;
    patience_ = std::min(2 * patience_, kPatienceMax);
  }
  of_chosen_ = {};
}

}  // namespace flurry::transfer
