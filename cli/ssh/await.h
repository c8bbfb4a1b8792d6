#pragma once

#include <algorithm>
#include <future>
#include <string>
#include <type_traits>

#include "core/result.h"
#include "core/sys/clock.h"

namespace flurry::ssh {

// Waits for an answer of the loop until `deadline`; kTimedOut names what was waited for. Works with
// std::future and std::shared_future of a Result.
template <typename Future>
auto await(Future& future, TimePoint deadline, const std::string& what)
    -> std::decay_t<decltype(future.get())> {
  const auto left = std::max(Millis(0), std::chrono::duration_cast<Millis>(deadline - sys::now()));
  if (future.wait_for(left) != std::future_status::ready)
    return Error{ErrorKind::kTimedOut, what + ": no answer before the deadline"};
  return future.get();
}

}  // namespace flurry::ssh
