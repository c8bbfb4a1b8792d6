#include "agent/check_calls.h"

#include <poll.h>

#include <future>
#include <system_error>
#include <utility>

namespace flurry::agent {
namespace {

constexpr int kLookMs = 20;

bool has_ended(const std::future<CheckResult>& result) {
  return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace

Result<std::vector<CheckResult>> CheckCalls::run(const std::vector<HealthCheck>& checks,
                                                 const std::function<bool()>& is_gone) {
  const auto call = calls_.take();
  if (!call)
    return Error{ErrorKind::kExhausted,
                 "as many checks as this host runs at once were asked for already: try again in a moment"};
  struct Running {
    size_t index;
    Places::Place place;
    std::future<CheckResult> result;
  };
  std::vector<CheckResult> results(checks.size());
  std::vector<Running> running;  // its futures wait for their threads
  std::stop_source stop;
  for (size_t next = 0; next < checks.size() || !running.empty();) {
    if (is_gone()) {
      stop.request_stop();
      return Error{ErrorKind::kCancelled, "nobody waits for the checks any more"};
    }
    std::erase_if(running, [&](Running& one) {
      const bool is_over = has_ended(one.result);
      if (is_over) results[one.index] = one.result.get();
      return is_over;
    });
    bool has_begun = false;
    if (auto place = next < checks.size() ? checks_.take() : std::nullopt) {
      try {
        auto result = std::async(std::launch::async, [this, &check = checks[next], token = stop.get_token()] {
          return system_.run_check(check, token);
        });
        running.push_back({next++, *std::move(place), std::move(result)});
        has_begun = true;
      } catch (const std::system_error&) {  // no thread for it now
      }
    }
    if (!has_begun) ::poll(nullptr, 0, kLookMs);
  }
  return results;
}

}  // namespace flurry::agent
