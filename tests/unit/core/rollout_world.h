#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/rollout.h"

namespace flurry {

inline StorePath path(char c) { return *StorePath::parse("/nix/store/" + std::string(32, c) + "-system"); }

// Answers the rollout's actions as a well-behaved world would, with faults by name; keeps count.
class World {
 public:
  explicit World(size_t hosts) {
    for (size_t i = 0; i < hosts; ++i) {
      hosts_.push_back({.name = *HostName::parse("h" + std::to_string(i + 1))});
      tickets_.push_back({.nonce = "nonce" + std::to_string(i)});
    }
    options_.confirm_timeout = Millis(30'000);
  }

  std::vector<HostConfig> hosts_;
  std::vector<HostTicket> tickets_;
  DeploymentOptions options_{.deployment = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV")};
  size_t parallel_ = 10;
  Millis turn_{500};  // how long each action takes

  // Faults and what agents tell, by host.
  std::map<size_t, Error> connect_fails, evaluate_fails, build_fails, copy_fails, begin_fails;
  std::map<size_t, HostFacts> facts;
  std::map<size_t, HostDerivations> derivations;
  std::map<size_t, std::deque<Result<ActionValue>>> views;
  std::map<size_t, Result<ActionValue>> always;  // whatever is asked of it once it has begun
  // Interrupt before this turn.
  std::map<int, int> interrupts;

  std::vector<HostResult> run() {
    Rollout rollout(hosts_, options_, tickets_, parallel_);
    std::vector<RolloutEvent> events;
    TimePoint now{Millis(1000)};
    for (int turn = 0; turn < 100'000 && !rollout.is_finished(); ++turn) {
      for (int i = 0; i < interrupts[turn]; ++i) events.emplace_back(Interrupted{});
      const auto actions = rollout.step(now, events);
      events.clear();
      size_t under_way = 0;
      for (const auto& host : rollout.hosts()) under_way += host.is_under_way();
      most_under_way = std::max(most_under_way, under_way);
      for (const auto& a : actions) {
        log.push_back(hosts_[a.host].name.str() + " " + name(a.what));
        if (name(a.what) == std::string("confirm")) confirmed_at.push_back(now);
        events.emplace_back(ActionEnded{a.id, answer(a.host, a.what)});
      }
      now += turn_;
    }
    EXPECT_TRUE(rollout.is_finished());
    took = now - TimePoint(Millis(1000));
    std::vector<HostResult> results;
    for (const auto& host : rollout.hosts()) results.push_back(host.result());
    code = exit_code(results, rollout.was_interrupted());
    return results;
  }

  std::vector<std::string> log;
  std::vector<TimePoint> confirmed_at;
  std::map<size_t, ActivationSpec> begun;               // what each host's agent was asked for
  std::map<size_t, std::vector<std::string>> nonces;    // with which each was confirmed
  std::map<size_t, std::vector<uint64_t>> asked_since;  // what each Observe had seen
  Millis took{0};
  std::vector<StorePath> bases;  // of the last copy
  bool only_estimated = false;
  size_t most_under_way = 0;
  int code = -1;

  bool did(const std::string& entry) const { return std::find(log.begin(), log.end(), entry) != log.end(); }

 private:
  static std::string name(const action::Any& what) {
    constexpr const char* kNames[] = {"connect", "evaluate", "build",    "copy",
                                      "begin",   "observe",  "reattach", "confirm"};
    return kNames[what.index()];
  }

  static Result<ActionValue> or_fault(const std::map<size_t, Error>& faults, size_t host, ActionValue value) {
    const auto it = faults.find(host);
    if (it != faults.end()) return it->second;
    return value;
  }

  Result<ActionValue> answer(size_t host, const action::Any& what) {
    if (std::holds_alternative<action::Connect>(what)) {
      HostFacts healthy{.state = {.running = path('1'), .profile = path('1'), .generation = 1}};
      return or_fault(connect_fails, host, facts.count(host) ? facts[host] : healthy);
    }
    if (std::holds_alternative<action::Evaluate>(what))
      return or_fault(evaluate_fails, host,
                      derivations.count(host)
                          ? derivations[host]
                          : HostDerivations{{{system_profile(path('2')), path('d'), path('2')}}});
    if (std::holds_alternative<action::Build>(what)) return or_fault(build_fails, host, {});
    if (const auto* copy = std::get_if<action::Copy>(&what)) {
      bases = copy->bases;
      only_estimated = copy->only_estimate;
      return or_fault(copy_fails, host, {});
    }
    if (const auto* begin = std::get_if<action::Begin>(&what)) {
      begun.insert_or_assign(host, begin->spec);
      return or_fault(begin_fails, host, {});
    }
    if (const auto* observe = std::get_if<action::Observe>(&what)) asked_since[host].push_back(observe->seen);
    if (const auto* confirm = std::get_if<action::Confirm>(&what)) nonces[host].push_back(confirm->nonce);
    if (always.count(host)) return always.at(host);
    auto& queue = views[host];
    if (!queue.empty()) {
      auto next = queue.front();
      queue.pop_front();
      return next;
    }
    if (std::holds_alternative<action::Confirm>(what)) {
      confirmed_[host] = true;
      return ActionValue(AgentView{.known = true, .revision = 2, .phase = Phase::kConfirmed});
    }
    if (confirmed_[host])
      return ActionValue(
          AgentView{.known = true, .revision = 3, .phase = Phase::kEnded, .outcome = Outcome::kSucceeded});
    return ActionValue(AgentView{.known = true, .revision = 1, .phase = Phase::kAwaitingConfirmation});
  }

  std::map<size_t, bool> confirmed_;
};

inline AgentView ended(Outcome outcome, std::string reason = "") {
  return {
      .known = true, .revision = 9, .phase = Phase::kEnded, .outcome = outcome, .reason = std::move(reason)};
}

}  // namespace flurry
