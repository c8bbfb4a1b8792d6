#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "core/fleet.h"
#include "core/host_deployment.h"

namespace flurry {

using ActionId = uint64_t;

struct HostAction {
  size_t host;  // index into the fleet that the rollout was made of
  ActionId id;
  action::Any what;
};

struct ActionEnded {
  ActionId id;
  Result<ActionValue> result;
};

// Ctrl-C: the first starts nothing new, the second detaches.
struct Interrupted {};

using RolloutEvent = std::variant<ActionEnded, Interrupted>;

// All hosts of one deployment, as a state machine without I/O: each host goes on by itself as soon as
// it can, at most `parallel` of them between build and outcome at a time; one host's failure is its own.
// The driver calls step() with the time and what happened, starts the actions it returns, and calls
// again by next_wakeup(). One thread at a time.
class Rollout {
 public:
  // `tickets` holds one for each host. `hosts` and `options` must outlive it.
  Rollout(const std::vector<HostConfig>& hosts, const DeploymentOptions& options,
          std::vector<HostTicket> tickets, size_t parallel);

  std::vector<HostAction> step(TimePoint now, const std::vector<RolloutEvent>& events);
  std::optional<TimePoint> next_wakeup() const;

  bool is_finished() const;
  bool was_interrupted() const { return interrupts_ > 0; }
  const std::vector<HostDeployment>& hosts() const { return machines_; }

 private:
  struct InFlight {
    size_t host;
    action::Any what;
  };

  void on_interrupt();
  bool requirements_met(size_t host);

  const std::vector<HostConfig>& hosts_;
  const size_t parallel_;
  std::vector<HostDeployment> machines_;
  std::map<HostName, size_t> by_name_;
  std::map<ActionId, InFlight> in_flight_;
  ActionId next_id_ = 1;
  int interrupts_ = 0;
};

// The exit code of CONTRACT section 3 for these results.
int exit_code(const std::vector<HostResult>& results, bool was_interrupted);

}  // namespace flurry
