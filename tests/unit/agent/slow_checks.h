#pragma once

#include <poll.h>

#include <atomic>

#include "core/sys/clock.h"
#include "tests/unit/agent/fake_system.h"

namespace flurry::agent {

// Its checks go on until they are let go, and it knows how many of them there are.
class SlowChecks : public FakeSystem {
 public:
  CheckResult run_check(const HealthCheck& check, std::stop_token stop) override {
    most = std::max<int>(most, ++now);
    for (const TimePoint until = sys::now() + Millis(10'000); sys::now() < until;) {
      if (is_let_go || stop.stop_requested()) break;
      ::poll(nullptr, 0, 1);
    }
    --now;
    return {!stop.stop_requested(), check.name};
  }
  std::atomic<int> now = 0;
  std::atomic<int> most = 0;
  std::atomic<bool> is_let_go = false;
};

}  // namespace flurry::agent
