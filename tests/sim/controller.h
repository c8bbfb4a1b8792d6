#pragma once

#include <memory>
#include <vector>

#include "core/rollout.h"
#include "tests/sim/invariants.h"
#include "tests/sim/network.h"

namespace flurry::sim {

// The production Rollout, with a link to each of its hosts.
class Controller {
 public:
  Controller(Timeline& timeline, Dice& dice, std::list<Host>& hosts, Invariants& invariants, Plan plan);
  Controller(const Controller&) = delete;

  void start() { step({}); }
  void die() { is_dead_ = true; }
  void interrupt() { step({Interrupted{}}); }
  // As a laptop that is closed and opened again: nothing is done meanwhile, and all of it at once then.
  void suspend_until(TimePoint when) { suspended_until_ = when; }
  // Somebody who knows the nonce wants it undone.
  void request_rollback(size_t at);
  bool is_dead() const { return is_dead_; }
  bool is_finished() const { return rollout_.is_finished(); }
  std::vector<Link>& links() { return links_; }
  const Plan& plan() const { return plan_; }
  size_t most_under_way() const { return most_under_way_; }

 private:
  using Answer = std::function<void(Result<ActionValue>)>;

  void step(std::vector<RolloutEvent> events);
  void carry(const HostAction& action);
  Answer answer_to(ActionId id);
  void connect(size_t at, const Answer& answer);
  void copy(size_t at, const action::Copy& copy, const Answer& answer);
  void begin(size_t at, const ActivationSpec& spec, const Answer& answer);
  void observe(size_t at, bool dials, uint64_t seen, const Answer& answer);
  void confirm(size_t at, const std::string& nonce, const Answer& answer);
  Process::OnAnswer send_back(size_t at, const Answer& answer);

  Timeline& timeline_;
  Dice& dice_;
  Invariants& invariants_;
  const Plan plan_;
  const std::vector<HostConfig> configs_;
  const DeploymentOptions options_;
  std::vector<Link> links_;
  Rollout rollout_;
  std::vector<bool> ended_;
  TimePoint suspended_until_{};
  std::optional<TimePoint> next_wake_;
  size_t most_under_way_ = 0;
  bool is_dead_ = false;
};

}  // namespace flurry::sim
