#include "tests/sim/controller.h"

#include <algorithm>

namespace flurry::sim {
namespace {

constexpr double kLoss = 0.04;

std::vector<HostConfig> configs_of(const std::vector<Host>& hosts) {
  std::vector<HostConfig> out;
  for (const auto& host : hosts) {
    HostConfig config{.name = *HostName::parse(host.name())};
    config.activation_timeout = Millis(20'000);
    config.confirm_timeout = Millis(10'000);
    config.health.min_healthy = Millis(2000);
    config.health.deadline = Millis(15'000);
    config.health.checks.push_back({.name = "site", .kind = UnitCheck{"web.service"}});
    out.push_back(std::move(config));
  }
  return out;
}

std::vector<HostTicket> tickets_for(size_t count) {
  std::vector<HostTicket> out;
  for (size_t i = 0; i < count; ++i) out.push_back({.nonce = "nonce-" + std::to_string(i)});
  return out;
}

}  // namespace

Controller::Controller(Timeline& timeline, Dice& dice, std::vector<Host>& hosts, size_t parallel)
    : timeline_(timeline),
      dice_(dice),
      hosts_(hosts),
      configs_(configs_of(hosts)),
      options_{.deployment = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV")},
      rollout_(configs_, options_, tickets_for(hosts.size()), parallel),
      ended_(hosts.size()) {}

void Controller::step(std::vector<RolloutEvent> events) {
  if (is_dead_) return;
  for (const auto& action : rollout_.step(timeline_.now(), events)) carry(action);
  size_t under_way = 0;
  for (size_t i = 0; i < hosts_.size(); ++i) {
    const HostDeployment& host = rollout_.hosts()[i];
    under_way += host.is_under_way();
    if (host.is_ended() && !ended_[i]) newly_ended_.push_back(i);
    ended_[i] = host.is_ended();
  }
  most_under_way_ = std::max(most_under_way_, under_way);
  if (const auto wake = rollout_.next_wakeup())
    timeline_.at(std::max(*wake, timeline_.now() + Millis(1)), [this] { step({}); });
}

// Either direction may be lost; then the caller hears so only after its deadline.
void Controller::carry(const HostAction& action) {
  const auto answer = [this, id = action.id](Millis delay, Result<ActionValue> result) {
    timeline_.after(delay, [this, id, result = std::move(result)] { step({ActionEnded{id, result}}); });
  };
  const bool is_local = std::holds_alternative<action::Evaluate>(action.what) ||
                        std::holds_alternative<action::Build>(action.what);
  if (is_local) {
    const auto drv = *StorePath::parse("/nix/store/" + std::string(32, 'd') + "-d.drv");
    return answer(
        dice_.between(10, 2000),
        ActionValue(HostDerivations{{{system_profile(Host::new_system()), drv, Host::new_system()}}}));
  }
  const Error lost{ErrorKind::kUnreachable, "lost"};
  if (dice_.chance(kLoss)) return answer(dice_.between(500, 12'000), lost);
  timeline_.after(dice_.between(1, 300), [this, answer, lost, action] {
    if (!hosts_[action.host].is_reachable()) return answer(dice_.between(500, 12'000), lost);
    (void)arrive(action.host, action.what);
    timeline_.after(dice_.between(20, 400), [this, answer, lost, action] {
      if (!hosts_[action.host].is_reachable() || dice_.chance(kLoss))
        return answer(dice_.between(500, 12'000), lost);
      const bool asks = !std::holds_alternative<action::Begin>(action.what) &&
                        !std::holds_alternative<action::Confirm>(action.what);
      if (asks) return answer(dice_.between(1, 200), arrive(action.host, action.what));
      if (std::holds_alternative<action::Confirm>(action.what))
        return answer(dice_.between(1, 200), view_of(hosts_[action.host]));
      answer(dice_.between(1, 200), ActionValue{});
    });
  });
}

Result<ActionValue> Controller::arrive(size_t index, const action::Any& what) {
  Host& host = hosts_[index];
  host.wake_agent();
  if (std::holds_alternative<action::Connect>(what)) return ActionValue(HostFacts{.state = host.state()});
  if (std::holds_alternative<action::Copy>(what)) return ActionValue{};
  if (const auto* begin = std::get_if<action::Begin>(&what)) host.begin(begin->spec);
  if (const auto* confirm = std::get_if<action::Confirm>(&what)) host.confirm(confirm->nonce);
  return view_of(host);
}

ActionValue Controller::view_of(const Host& host) const {
  const ActivationRecord* record = host.published();
  if (!record) return AgentView{.known = false};
  return AgentView{.known = true,
                   .revision = 1,
                   .phase = record->phase,
                   .outcome = record->outcome,
                   .reason = record->reason};
}

std::vector<size_t> Controller::take_ended() { return std::exchange(newly_ended_, {}); }

}  // namespace flurry::sim
