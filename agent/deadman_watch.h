#pragma once

#include <optional>
#include <string>

#include "core/sys/fd.h"
#include "core/time.h"

namespace flurry::agent {

// What a deadman sleeps on: the boot clock, the journals' directory, and a process. One thread.
class DeadmanWatch {
 public:
  // Looks at `directory` by inotify; where that can't be had, wait() returns every second instead.
  explicit DeadmanWatch(const std::string& directory);

  // Returns at `until` on CLOCK_BOOTTIME (a suspended machine counts), when a file in the directory was
  // changed, or when the process `pid` has ended; whichever is first, and by kLongest at the latest.
  void wait(TimePoint until, std::optional<int> pid);

  static constexpr Millis kLongest{10'000};

 private:
  sys::Fd changes_;
  sys::Fd timer_;
};

}  // namespace flurry::agent
