#include "core/rollout.h"

#include <algorithm>
#include <array>

namespace flurry {
namespace {

// A build on the host, or what it needs there, may fail for the connection's or the host's sake.
bool is_hosts_fault(std::optional<ErrorKind> cause) {
  return cause == ErrorKind::kUnreachable || cause == ErrorKind::kRefused || cause == ErrorKind::kNoSpace;
}

// What the flake says of the host is wrong, or can't be done.
bool is_users_fault(const HostResult& result) {
  return result.stage == Stage::kEvaluate &&
         (result.cause == ErrorKind::kInvalidInput || result.cause == ErrorKind::kUnsupported);
}

bool is_switched(Outcome outcome) {
  return outcome != Outcome::kUnchanged && outcome != Outcome::kStaged &&
         outcome != Outcome::kFailedUnchanged && outcome != Outcome::kSkipped;
}

int exit_code(const HostResult& result) {
  switch (result.outcome) {
    case Outcome::kUnchanged:
    case Outcome::kSucceeded:
    case Outcome::kStaged:
      return 0;
    case Outcome::kFailedUnchanged:
      if (is_users_fault(result)) return 1;
      return (result.stage == Stage::kEvaluate || result.stage == Stage::kBuild) &&
                     !is_hosts_fault(result.cause)
                 ? 2
                 : 3;
    case Outcome::kRolledBack:
      return 4;
    case Outcome::kRollbackFailed:
    case Outcome::kSuperseded:
    case Outcome::kUnknown:
      return 5;
    case Outcome::kSkipped:
      return 6;
  }
  return 5;
}

bool is_good(Outcome outcome) {
  return outcome == Outcome::kUnchanged || outcome == Outcome::kSucceeded || outcome == Outcome::kStaged;
}

}  // namespace

int exit_code(const std::vector<HostResult>& results, bool was_interrupted) {
  const bool is_any_switched = std::any_of(results.begin(), results.end(),
                                           [](const auto& result) { return is_switched(result.outcome); });
  if (was_interrupted && !is_any_switched) return 130;
  constexpr std::array kWorstFirst{5, 4, 3, 2, 1, 6};
  for (const int code : kWorstFirst)
    for (const auto& result : results)
      if (exit_code(result) == code) return code;
  return 0;
}

Rollout::Rollout(const std::vector<HostConfig>& hosts, const DeploymentOptions& options,
                 std::vector<HostTicket> tickets, size_t parallel)
    : hosts_(hosts), parallel_(std::max<size_t>(parallel, 1)) {
  machines_.reserve(hosts.size());
  for (size_t i = 0; i < hosts.size(); ++i) {
    machines_.emplace_back(hosts[i], options, std::move(tickets[i]));
    by_name_.emplace(hosts[i].name, i);
  }
}

std::vector<HostAction> Rollout::step(TimePoint now, const std::vector<RolloutEvent>& events) {
  for (const auto& event : events) {
    if (std::holds_alternative<Interrupted>(event)) {
      on_interrupt();
      continue;
    }
    const auto& ended = std::get<ActionEnded>(event);
    const auto it = in_flight_.find(ended.id);
    if (it == in_flight_.end()) continue;
    const InFlight done = std::move(it->second);
    in_flight_.erase(it);
    machines_[done.host].on_ended(now, done.what, ended.result);
  }

  size_t under_way = std::count_if(machines_.begin(), machines_.end(),
                                   [](const auto& machine) { return machine.is_under_way(); });
  std::vector<HostAction> actions;
  for (size_t host = 0; host < machines_.size(); ++host) {
    HostDeployment& machine = machines_[host];
    const bool was_under_way = machine.is_under_way();
    const bool may_proceed =
        machine.wants_to_proceed() && under_way < parallel_ && interrupts_ == 0 && requirements_met(host);
    for (auto& what : machine.next(now, may_proceed)) {
      in_flight_.emplace(next_id_, InFlight{host, what});
      actions.push_back({host, next_id_++, std::move(what)});
    }
    if (machine.is_under_way() && !was_under_way) ++under_way;
  }
  return actions;
}

// A host waits until those it requires have ended, and is skipped when one of them did not end well.
// Hosts that are not part of this deployment are taken as they are.
bool Rollout::requirements_met(size_t host) {
  for (const HostName& name : hosts_[host].requires_hosts) {
    const auto it = by_name_.find(name);
    if (it == by_name_.end()) continue;
    const HostDeployment& required = machines_[it->second];
    if (!required.is_ended()) return false;
    if (!is_good(required.result().outcome)) {
      machines_[host].skip("requires " + name.str() + ", which ended " +
                           std::string(to_string(required.result().outcome)));
      return false;
    }
  }
  return true;
}

void Rollout::on_interrupt() {
  ++interrupts_;
  for (auto& machine : machines_) {
    machine.skip("stopped by the user");
    if (interrupts_ > 1) machine.detach();
  }
}

std::optional<TimePoint> Rollout::next_wakeup() const {
  std::optional<TimePoint> next;
  for (const auto& machine : machines_) {
    const auto wake = machine.next_wakeup();
    if (wake && (!next || *wake < *next)) next = wake;
  }
  return next;
}

bool Rollout::is_finished() const {
  return std::all_of(machines_.begin(), machines_.end(),
                     [](const auto& machine) { return machine.is_ended(); });
}

}  // namespace flurry
