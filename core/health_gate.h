#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "core/health_policy.h"
#include "core/time.h"

namespace flurry {

// Decides from the results of health checks whether an activation stands: healthy when every required
// check and the failed-units rule have held for min_healthy without a break, failed when the deadline
// passes first (the timing of Nomad's min_healthy_time and healthy_deadline). Knows no clock.
class HealthGate {
 public:
  enum class Verdict { kPending, kHealthy, kFailed };

  HealthGate(HealthPolicy policy, TimePoint start, TimePoint deadline);

  // Checks to run now, by index; each is handed out once until its result is observed.
  std::vector<size_t> take_due(TimePoint now);
  void observe_check(size_t index, bool passed, std::string message, TimePoint now);

  // Whether the units are to be looked at now; handed out once, as a check is.
  bool take_units_due(TimePoint now);
  // Those that count against the host (unwell_units()).
  void observe_units(std::vector<std::string> unwell, TimePoint now);

  Verdict verdict(TimePoint now);
  std::optional<TimePoint> next_wakeup() const;

  // Why not healthy yet, or what is wanted and missing: "site: HTTP 500", one line each.
  std::vector<std::string> complaints() const;
  std::vector<std::string> warnings() const;

 private:
  struct CheckState {
    TimePoint next;
    bool running = false;
    bool passing = false;
    bool observed = false;
    int streak = 0;  // of equal results, negative for failures
    std::string message = "has not answered yet";
  };

  bool all_well() const;
  void refresh(TimePoint now);

  HealthPolicy policy_;
  TimePoint deadline_;
  std::vector<CheckState> checks_;
  TimePoint units_next_;
  bool units_running_ = false;
  bool units_observed_ = false;
  std::vector<std::string> units_unwell_;
  std::optional<TimePoint> healthy_since_;
};

// What a success rests on. No checks are no proof of health, and nobody shall read them as one.
struct HealthProof {
  size_t checks = 0;  // required ones
  FailedUnits failed_units = FailedUnits::kIgnore;
  bool is_reached = false;  // over a connection dialled anew
};

HealthProof proof_of(const HealthPolicy& policy, bool is_reached);

// "2 checks, no new failed units, reachability"; "reachability only"
std::string to_string(const HealthProof& proof);

}  // namespace flurry
