#include "cli/deployer.h"

#include <algorithm>

#include "core/sys/clock.h"

namespace flurry {
namespace {

// How often a live display is redrawn while nothing happens.
constexpr Millis kTick{100};

}  // namespace

std::vector<HostResult> Deployer::run() {
  started_ = sys::now();
  reported_.assign(fleet_.hosts.size(), Stage::kEnded);
  reported_end_.assign(fleet_.hosts.size(), false);
  std::vector<RolloutEvent> events;
  while (!rollout_.is_finished()) {
    const TimePoint now = sys::now();
    for (auto& action : rollout_.step(now, events)) runner_.start(std::move(action));
    runner_.flush();
    report(now);
    if (rollout_.is_finished()) break;
    events = wait();
  }
  std::vector<HostResult> results;
  for (const auto& host : rollout_.hosts()) results.push_back(host.result());
  return results;
}

std::vector<RolloutEvent> Deployer::wait() {
  const TimePoint tick = sys::now() + kTick;
  const TimePoint until = std::min(rollout_.next_wakeup().value_or(tick), tick);
  std::vector<RolloutEvent> events;
  for (auto& happening : happenings_.pop_all(until)) {
    if (auto* ended = std::get_if<ActionEnded>(&happening)) {
      events.emplace_back(std::move(*ended));
    } else if (std::holds_alternative<Interrupted>(happening)) {
      events.emplace_back(Interrupted{});
      reporter_.note(rollout_.was_interrupted()
                         ? "detached: the hosts finish or go back by themselves"
                         : "stopping: nothing new is started, running activations reach their outcome; "
                           "press Ctrl-C again to detach");
    } else if (const auto* warning = std::get_if<HostWarning>(&happening)) {
      reporter_.note(fleet_.hosts[warning->host].name.str() + ": " + warning->text);
    } else if (const auto* line = std::get_if<HostLine>(&happening)) {
      reporter_.log(fleet_.hosts[line->host].name.str(), line->stage, line->line);
    } else if (const auto* copying = std::get_if<HostCopying>(&happening)) {
      reporter_.copying(fleet_.hosts[copying->host].name.str(), copying->state);
    } else if (const auto* planned = std::get_if<HostPlanned>(&happening)) {
      reporter_.planned(fleet_.hosts[planned->host].name.str(), planned->plan);
    } else if (const auto* copied = std::get_if<HostCopied>(&happening)) {
      reporter_.copied(fleet_.hosts[copied->host].name.str(), copied->account);
    }
  }
  return events;
}

void Deployer::report(TimePoint now) {
  for (size_t i = 0; i < fleet_.hosts.size(); ++i) {
    const HostDeployment& host = rollout_.hosts()[i];
    const std::string& name = fleet_.hosts[i].name.str();
    if (host.is_ended()) {
      if (!reported_end_[i]) {
        reporter_.ended(name, host.result(), now - started_);
        runner_.release(i);
      }
      reported_end_[i] = true;
    } else if (host.stage() != reported_[i]) {
      reporter_.stage(name, host.stage());
      reported_[i] = host.stage();
    }
  }
  reporter_.tick(now);
}

}  // namespace flurry
