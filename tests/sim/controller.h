#pragma once

#include <vector>

#include "core/rollout.h"
#include "tests/sim/host.h"

namespace flurry::sim {

// The production Rollout over a network that loses and delays, talking to simulated hosts.
class Controller {
 public:
  Controller(Timeline& timeline, Dice& dice, std::vector<Host>& hosts, size_t parallel);

  void start() { step({}); }
  void die() { is_dead_ = true; }
  bool is_dead() const { return is_dead_; }
  bool is_finished() const { return rollout_.is_finished(); }
  const Rollout& rollout() const { return rollout_; }
  // Hosts whose outcome became known in the last step.
  std::vector<size_t> take_ended();
  size_t most_under_way() const { return most_under_way_; }

 private:
  void step(std::vector<RolloutEvent> events);
  void carry(const HostAction& action);
  Result<ActionValue> arrive(size_t host, const action::Any& what);
  ActionValue view_of(const Host& host) const;

  Timeline& timeline_;
  Dice& dice_;
  std::vector<Host>& hosts_;
  const std::vector<HostConfig> configs_;
  const DeploymentOptions options_;
  Rollout rollout_;
  std::vector<bool> ended_;
  std::vector<size_t> newly_ended_;
  size_t most_under_way_ = 0;
  bool is_dead_ = false;
};

}  // namespace flurry::sim
