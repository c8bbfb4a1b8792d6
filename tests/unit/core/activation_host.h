#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/activation.h"

namespace flurry {

inline const StorePath kOld = *StorePath::parse("/nix/store/00000000000000000000000000000000-old");
inline const StorePath kNew = *StorePath::parse("/nix/store/11111111111111111111111111111111-new");
inline const std::string kNonce = "0123456789abcdef0123456789abcdef";
inline constexpr const char* kBoot = "boot-1";

// A host in memory, which does at once what the machine asks for, and a clock that only moves when
// nothing else can happen.
struct Host {
  std::optional<StorePath> running = kOld;
  std::optional<StorePath> profile = kOld;
  std::optional<uint64_t> generation = 7;
  StorePath boot_default = kOld;
  std::string boot_id = kBoot;
  std::vector<std::string> failed_units;
  std::optional<ActivationRecord> journal;
  std::vector<std::string> calls;

  // Faults.
  std::optional<int> switch_exit = 0;      // of `test` on the new system
  std::optional<int> reactivate_exit = 0;  // of `test` on the old one
  std::optional<int> boot_exit = 0;        // of `boot` on the new one
  // What is seen of the lock after each `test` on the new system that meets it; when used up, it can be had.
  std::vector<bool> lock_looks;
  bool is_locked = false;
  bool is_switch_hanging = false;
  bool is_reactivation_hanging = false;
  bool takes_effect = true;  // a failing reactivation still switches
  bool is_check_passing = true;
  bool is_confirmed = true;
  std::vector<std::string> nonces = {kNonce};  // all at once
  std::optional<Phase> unwritable;             // the journal refuses this phase
  int refusals = 1'000;                        // how often
  std::vector<std::string> fails_after_switch;
  std::function<bool(const ActivationRecord&)> crash;  // true: the driver dies after this write

  TimePoint now{Millis(1'000'000)};
  bool crashed = false;

  std::optional<Result<EffectValue>> perform(const effect::Any& what) {
    if (std::holds_alternative<effect::ReadState>(what)) {
      SystemState state{running, profile, generation, boot_id, failed_units};
      state.is_switch_locked = is_locked;
      return Result<EffectValue>(EffectValue{state});
    }
    if (const auto* write = std::get_if<effect::WriteJournal>(&what)) {
      if (unwritable == write->record.phase && refusals-- > 0)
        return Result<EffectValue>(Error{ErrorKind::kNoSpace, "disk full"});
      journal = write->record;
      if (crash && crash(*journal)) crashed = true;
      return Result<EffectValue>(EffectValue{});
    }
    if (const auto* run = std::get_if<effect::RunSwitch>(&what)) return run_switch(*run);
    if (std::holds_alternative<effect::RunCheck>(what))
      return Result<EffectValue>(EffectValue{CheckResult{is_check_passing, "HTTP 500"}});
    if (const auto* set = std::get_if<effect::SetProfile>(&what)) {
      calls.push_back("set-profile");
      profile = set->path;
      generation = 8;
    } else if (const auto* restore = std::get_if<effect::RestoreProfile>(&what)) {
      calls.push_back("restore-profile");
      generation = restore->generation;
      profile = generation ? std::optional(kOld) : std::nullopt;
    } else if (std::holds_alternative<effect::StopSwitch>(what)) {
      calls.push_back("stop");
    } else if (std::holds_alternative<effect::ArmDeadman>(what)) {
      calls.push_back("arm");
    } else if (std::holds_alternative<effect::DisarmDeadman>(what)) {
      calls.push_back("disarm");
    }
    return Result<EffectValue>(EffectValue{});
  }

  std::optional<Result<EffectValue>> run_switch(const effect::RunSwitch& run) {
    const bool is_new = run.closure == kNew;
    calls.push_back(std::string(run.attach ? "attach " : "") + (is_new ? "new " : "old ") +
                    (run.action == effect::SwitchAction::kBoot ? "boot" : "test"));
    if (run.attach) return Result<EffectValue>(EffectValue{SwitchExit{std::nullopt, ""}});
    if (run.action == effect::SwitchAction::kDryActivate)
      return Result<EffectValue>(EffectValue{SwitchExit{switch_exit, "dry"}});
    if (run.action == effect::SwitchAction::kBoot) {
      const auto exit = is_new ? boot_exit : std::optional<int>(0);
      if (exit == 0) boot_default = run.closure;
      return Result<EffectValue>(EffectValue{SwitchExit{exit, ""}});
    }
    if (is_new && !lock_looks.empty()) {
      is_locked = lock_looks.front();
      lock_looks.erase(lock_looks.begin());
      return Result<EffectValue>(EffectValue{SwitchExit{11, "Could not acquire lock\n"}});
    }
    is_locked = false;
    if (is_new && is_switch_hanging) {
      running = run.closure;
      return std::nullopt;
    }
    if (!is_new && is_reactivation_hanging) return std::nullopt;
    const auto exit = is_new ? switch_exit : reactivate_exit;
    const bool starts = exit != 1 && exit != 100;
    if (starts && (exit == 0 || takes_effect)) running = run.closure;
    failed_units = is_new && starts ? fails_after_switch : std::vector<std::string>{};
    std::string said = "said\n";
    for (const auto& unit : failed_units) said += "warning: the following units failed: " + unit + "\n";
    return Result<EffectValue>(EffectValue{SwitchExit{exit, said}});
  }

  void drive(Activation& machine) {
    std::vector<ActivationInput> inputs;
    for (int turns = 0; turns < 10'000 && !machine.is_finished() && !crashed; ++turns) {
      const auto effects = machine.step(now, std::move(inputs));
      inputs.clear();
      for (const auto& effect : effects) {
        auto ended = perform(effect.what);
        if (crashed) return;
        if (ended) inputs.emplace_back(EffectEnded{effect.id, *ended});
      }
      if (!inputs.empty()) continue;
      if (is_confirmed && journal && journal->phase == Phase::kAwaitingConfirmation &&
          !machine.is_finished()) {
        is_confirmed = false;
        for (const auto& nonce : nonces) inputs.emplace_back(ConfirmReceived{nonce});
        continue;
      }
      if (machine.is_finished()) return;
      const auto wakeup = machine.next_wakeup();
      ASSERT_TRUE(wakeup) << "waits for ever in " << to_string(machine.record().phase);
      now = std::max(*wakeup, now + Millis(1));
    }
    ASSERT_TRUE(machine.is_finished() || crashed) << "does not end";
  }

  bool called(const std::string& what) const {
    return std::find(calls.begin(), calls.end(), what) != calls.end();
  }
};

inline ActivationSpec spec_of(Goal goal = Goal::kSwitch) {
  ActivationSpec spec{.deployment = *DeploymentId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
                      .nonce = kNonce,
                      .who = "alice",
                      .revision = "",
                      .profiles = {system_profile(kNew)}};
  spec.goal = goal;
  HealthCheck check;
  check.name = "site";
  check.kind = UnitCheck{"site.service"};
  spec.health.checks.push_back(check);
  return spec;
}

inline Outcome outcome_of(Host& host, const ActivationSpec& spec) {
  Activation machine = Activation::begin(spec, 1);
  host.drive(machine);
  return machine.record().outcome.value_or(Outcome::kUnknown);
}

inline void expect_as_before(const Host& host) {
  EXPECT_EQ(host.running, kOld);
  EXPECT_EQ(host.profile, kOld);
  EXPECT_EQ(host.generation, 7u);
  EXPECT_EQ(host.boot_default, kOld);
}

}  // namespace flurry
