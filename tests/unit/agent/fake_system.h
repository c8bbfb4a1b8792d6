#pragma once

#include <poll.h>

#include <atomic>
#include <mutex>
#include <string>

#include "agent/system.h"

namespace flurry::agent {

inline StorePath store_path(char digit, const std::string& name) {
  return *StorePath::parse("/nix/store/" + std::string(32, digit) + "-" + name);
}

inline const StorePath kOld = store_path('0', "old");
inline const StorePath kNew = store_path('1', "new");
inline constexpr const char* kBootId = "11111111-2222-3333-4444-555555555555";
inline constexpr const char* kNonce = "0123456789abcdef0123456789abcdef";

inline Result<std::string> this_boot() { return std::string(kBootId); }

// A host in memory. It outlives the executors that drive it, as a host outlives its agents.
class FakeSystem : public System {
 public:
  // Faults; set before a deployment begins.
  std::atomic<int> switch_exit = 0;
  std::atomic<bool> is_switch_hanging = false;
  std::atomic<bool> is_going_back_hanging = false;
  std::atomic<bool> is_check_passing = true;
  std::atomic<bool> is_commit_failing = false;

  Result<EffectValue> perform(const effect::Any& what, const ActivationRecord& record,
                              std::stop_token stop) override {
    if (const auto* run = std::get_if<effect::RunSwitch>(&what)) return switch_to(*run, stop);
    const std::lock_guard lock(mutex_);
    if (std::holds_alternative<effect::ReadState>(what)) return EffectValue{state_};
    if (const auto* check = std::get_if<effect::RunCheck>(&what))
      return EffectValue{run_check(record.spec.health.checks.at(check->index), stop)};
    if (std::holds_alternative<effect::StopSwitch>(what)) is_stopped_ = true;
    if (const auto* set = std::get_if<effect::SetProfile>(&what)) {
      state_.profile = set->path;
      state_.generation = 8;
    }
    if (const auto* restore = std::get_if<effect::RestoreProfile>(&what)) {
      state_.profile = record.before.profile;
      state_.generation = restore->generation;
    }
    return EffectValue{};
  }

  Result<ActivationSpec> admit(ActivationSpec spec) override { return spec; }

  Result<HostFacts> inspect(const std::vector<ProfileRef>&, bool) override {
    HostFacts facts;
    facts.state = state();
    facts.system = "x86_64-linux";
    return facts;
  }

  CheckResult run_check(const HealthCheck&, std::stop_token) override {
    return {is_check_passing, is_check_passing ? "HTTP 200" : "HTTP 500"};
  }

  SystemState state() {
    const std::lock_guard lock(mutex_);
    return state_;
  }
  void set_running(const StorePath& path, bool committed) {
    const std::lock_guard lock(mutex_);
    state_.running = path;
    if (committed) state_.profile = path;
  }
  int switches() const { return switches_; }

 private:
  Result<EffectValue> switch_to(const effect::RunSwitch& run, std::stop_token stop) {
    if (run.attach) return EffectValue{SwitchExit{std::nullopt, ""}};
    ++switches_;
    while (is_going_back_hanging && run.closure == kOld) {
      if (stop.stop_requested()) return Error{ErrorKind::kCancelled, "given up"};
      ::poll(nullptr, 0, 5);
    }
    while (is_switch_hanging && run.closure == kNew) {
      if (stop.stop_requested()) return Error{ErrorKind::kCancelled, "given up"};
      ::poll(nullptr, 0, 5);
      const std::lock_guard lock(mutex_);
      state_.running = kNew;  // it hangs in the middle
      if (is_stopped_) return EffectValue{SwitchExit{std::nullopt, ""}};
    }
    const std::lock_guard lock(mutex_);
    if (run.action == effect::SwitchAction::kBoot)
      return EffectValue{SwitchExit{is_commit_failing && run.closure == kNew ? 1 : 0, ""}};
    const int code = run.closure == kNew ? switch_exit.load() : 0;
    if (code != 1 && code != 100) state_.running = run.closure;
    return EffectValue{SwitchExit{code, "switched \xff\xfe and more"}};
  }

  std::mutex mutex_;  // guards what follows
  SystemState state_{kOld, kOld, 7, kBootId, {}};
  bool is_stopped_ = false;
  std::atomic<int> switches_ = 0;
};

inline ActivationSpec test_spec(int number = 1) {
  ActivationSpec spec{
      .deployment = *DeploymentId::parse("01ARZ3NDEKTSV4RRFFQ69G5FA" + std::to_string(number)),
      .nonce = kNonce,
      .who = "alice@laptop",
      .revision = "abc",
      .profiles = {system_profile(kNew)}};
  spec.activation_timeout = Millis(400);
  spec.confirm_timeout = Millis(400);
  spec.health.min_healthy = Millis(0);
  spec.health.deadline = Millis(400);
  HealthCheck check;
  check.name = "site";
  check.kind = UnitCheck{"site.service"};
  check.interval = Millis(20);
  spec.health.checks.push_back(check);
  return spec;
}

}  // namespace flurry::agent
