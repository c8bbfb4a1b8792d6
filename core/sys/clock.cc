#include "core/sys/clock.h"

#include <ctime>

namespace flurry::sys {
namespace {

long long read_ms(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

}  // namespace

TimePoint now() { return TimePoint(Millis(read_ms(CLOCK_BOOTTIME))); }

long long unix_ms() { return read_ms(CLOCK_REALTIME); }

}  // namespace flurry::sys
