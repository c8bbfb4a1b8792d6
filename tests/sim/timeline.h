#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/time.h"

namespace flurry::sim {

// Everything random comes from here: one seed, one story.
class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  bool chance(double probability) { return std::uniform_real_distribution<>(0, 1)(engine_) < probability; }
  Millis between(long long low, long long high) {
    return Millis(std::uniform_int_distribution<long long>(low, high)(engine_));
  }
  size_t below(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(engine_); }

 private:
  std::mt19937_64 engine_;
};

// What happens when; events of one moment in the order in which they were planned.
class Timeline {
 public:
  TimePoint now() const { return now_; }
  void at(TimePoint when, std::function<void()> what) { events_.push({when, next_++, std::move(what)}); }
  void after(Millis delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }
  // False when nothing is left.
  bool turn();
  uint64_t steps() const { return steps_; }

  // A line of the story on stderr, where one is wanted.
  void trace_to_stderr(bool wanted) { is_traced_ = wanted; }
  bool is_traced() const { return is_traced_; }
  void tell(const std::string& who, const std::string& what) const;

 private:
  struct Event {
    TimePoint when;
    uint64_t order;
    std::function<void()> what;
    bool operator<(const Event& other) const {
      return std::tie(other.when, other.order) < std::tie(when, order);
    }
  };
  std::priority_queue<Event> events_;
  TimePoint now_{Millis(1'000'000)};
  uint64_t next_ = 0;
  uint64_t steps_ = 0;
  bool is_traced_ = false;
};

}  // namespace flurry::sim
