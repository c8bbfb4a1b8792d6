#include "agent/deadman_watch.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "agent/log.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

constexpr Millis kWithoutInotify{1'000};
constexpr uint32_t kChanges = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE;

// Older headers have no name for it, older kernels no such call.
sys::Fd open_process(int pid) { return sys::Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

}  // namespace

DeadmanWatch::DeadmanWatch(const std::string& directory)
    : changes_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      timer_(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK)) {
  if (changes_.is_open() && ::inotify_add_watch(changes_.get(), directory.c_str(), kChanges) >= 0) return;
  log_warning("look for changes of " + directory + ": " + std::strerror(errno));
  changes_.reset();
}

void DeadmanWatch::wait(TimePoint until, std::optional<int> pid) {
  const TimePoint now = sys::now();
  const bool is_blind = !changes_.is_open() || !timer_.is_open();
  until = std::clamp(until, now, now + (is_blind ? kWithoutInotify : kLongest));
  // An expiry of zero would mean never.
  const auto at = std::max(until.time_since_epoch() / Millis(1), Millis::rep{1});
  const itimerspec when{{0, 0}, {at / 1000, at % 1000 * 1'000'000}};
  if (timer_.is_open()) ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
  const sys::Fd process = pid ? open_process(*pid) : sys::Fd();
  // poll() passes over what isn't open. Its own time stands still while the machine is suspended: it is the
  // net.
  pollfd files[] = {{timer_.get(), POLLIN, 0}, {changes_.get(), POLLIN, 0}, {process.get(), POLLIN, 0}};
  ::poll(files, 3, static_cast<int>((until - now) / Millis(1)) + 1);
  char events[4096];
  while (changes_.is_open() && ::read(changes_.get(), events, sizeof events) > 0) {
  }
}

}  // namespace flurry::agent
