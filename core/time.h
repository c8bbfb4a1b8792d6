#pragma once

#include <chrono>

namespace flurry {

using Millis = std::chrono::milliseconds;

// CLOCK_BOOTTIME: runs on during suspend, never jumps, starts at zero with each boot. The core is
// told the time; only core/sys/clock.h asks the kernel for it.
struct BootClock {
  using duration = Millis;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock>;
  static constexpr bool is_steady = true;
};

using TimePoint = BootClock::time_point;

}  // namespace flurry
