#include "tests/lab/faultagent/points.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "core/outcome.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry::agent {
namespace {

constexpr const char* kArmed = "/run/flurry-fault/armed/";
constexpr const char* kHeld = "/run/flurry-fault/held/";
constexpr const char* kLog = "/var/log/flurry-fault.log";
constexpr Millis kHoldMax{120'000};
constexpr int kPollMs = 20;

std::string number(TimePoint time) { return std::to_string(time.time_since_epoch() / Millis(1)); }

// One write, so that lines of several processes don't mix. What can't be written the test misses.
void log_line(const std::string& fields) {
  const std::string line =
      "{\"at\": " + number(sys::now()) + ", \"pid\": " + std::to_string(::getpid()) + ", " + fields + "}\n";
  const sys::Fd fd(::open(kLog, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
  [[maybe_unused]] const ssize_t n = ::write(fd.get(), line.data(), line.size());
}

}  // namespace

void stop_at(const std::string& point) {
  const std::string held = kHeld + point;
  // Of several that come here one moves the file, and nobody who comes again.
  if (::rename((kArmed + point).c_str(), held.c_str()) != 0) return;
  log_line("\"hit\": \"" + point + "\"");
  for (const TimePoint until = sys::now() + kHoldMax; sys::now() < until; ::poll(nullptr, 0, kPollMs))
    if (::access(held.c_str(), F_OK) != 0) return;
}

void log_write(const ActivationRecord& record, bool is_written) {
  log_line("\"deployment\": \"" + record.spec.deployment.str() + "\", \"phase\": \"" +
           std::string(to_string(record.phase)) + "\", \"outcome\": \"" +
           (record.outcome ? std::string(to_string(*record.outcome)) : "") + "\", \"deadline\": " +
           number(record.deadline) + ", \"written\": " + (is_written ? "true" : "false"));
}

}  // namespace flurry::agent
