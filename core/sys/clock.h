#pragma once

#include "core/time.h"

namespace flurry::sys {

// Now on CLOCK_BOOTTIME.
TimePoint now();

// Wall time in milliseconds since 1970, for people to read; never for a deadline.
long long unix_ms();

}  // namespace flurry::sys
