#pragma once

#include <functional>
#include <vector>

#include "agent/places.h"
#include "agent/system.h"

namespace flurry::agent {

// Runs checks that somebody asks for beside deployments, few at a time over all who ask: descriptors,
// processes and threads must be left for the deployments, whose own checks are not among these. Any thread.
class CheckCalls {
 public:
  explicit CheckCalls(System& system) : system_(system) {}

  // A result for each check, in their order. kExhausted at once where too many ask already. `is_gone` is
  // asked again and again; once it says true, the checks are ended and it is kCancelled.
  Result<std::vector<CheckResult>> run(const std::vector<HealthCheck>& checks,
                                       const std::function<bool()>& is_gone);

 private:
  System& system_;
  Places calls_{8};
  Places checks_{8};
};

}  // namespace flurry::agent
