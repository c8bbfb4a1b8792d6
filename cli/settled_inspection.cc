#include "cli/settled_inspection.h"

#include <algorithm>
#include <thread>

#include "core/profile.h"
#include "core/sys/clock.h"

namespace flurry {
namespace {

constexpr Millis kSettle{20'000};
constexpr Millis kInterval{300};

// In these phases the agent needs nobody else to come to an end soon.
bool is_finishing(const Inspection& inspection) {
  return inspection.active && inspection.active->phase != to_string(Phase::kSwitching) &&
         inspection.active->phase != to_string(Phase::kChecking);
}

}  // namespace

Result<Inspection> inspect_settled(AgentClient& agent, const HostConfig& host, TimePoint deadline) {
  const TimePoint until = std::min(deadline, sys::now() + kSettle);
  for (;;) {
    ASSIGN_OR_RETURN(Inspection inspection, agent.inspect(ordered_profiles(host), false, deadline));
    if (!is_finishing(inspection) || sys::now() >= until) return inspection;
    std::this_thread::sleep_for(kInterval);
  }
}

}  // namespace flurry
