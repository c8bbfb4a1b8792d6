#include "tests/sim/network.h"

namespace flurry::sim {
namespace {

constexpr double kLoss = 0.02;
constexpr double kLate = 0.04;
constexpr double kTwice = 0.05;

}  // namespace

void Link::carry(bool is_lost, Arrived then, Lost lost) {
  if (is_lost || dice_.chance(kLoss)) return timeline_.after(dice_.between(500, 20'000), lost);
  const Millis delay = dice_.chance(0.03) ? dice_.between(300, 8'000) : dice_.between(1, 150);
  timeline_.after(delay, [this, then, lost] {
    if (host_->is_reachable())
      then();
    else
      timeline_.after(dice_.between(500, 12'000), lost);
  });
}

void Link::forth(Arrived then, Lost lost) {
  carry(timeline_.now() < requests_lost_until_, std::move(then), std::move(lost));
}

void Link::back(Arrived then, Lost lost) {
  carry(timeline_.now() < answers_lost_until_ || !host_->is_reachable(), std::move(then), std::move(lost));
}

void Link::forth_perhaps_late(Arrived then, Lost lost) {
  if (dice_.chance(kLate)) {
    timeline_.after(dice_.between(2'000, 90'000), then);
    timeline_.after(dice_.between(500, 15'000), lost);
    return;
  }
  if (dice_.chance(kTwice)) timeline_.after(dice_.between(10, 60'000), then);
  forth(std::move(then), std::move(lost));
}

}  // namespace flurry::sim
