#include <algorithm>

#include "tests/sim/process.h"

// How a process's effects take place on its host, each as three moments that a crash can fall between.

namespace flurry::sim {
namespace {

constexpr double kFails = 0.004;
constexpr double kSlow = 0.004;
constexpr Millis kCheckTimeout{5'000};

bool may_fail(const effect::Any& what) {
  return !std::holds_alternative<effect::RunCheck>(what) &&
         !std::holds_alternative<effect::ReleaseRoots>(what);
}

std::string root(const ActivationRecord& record, const std::string& which) {
  return record.spec.deployment.str() + "-" + which;
}

}  // namespace

void Process::perform(const Effect& effect) {
  Worker& worker =
      workers_.emplace_back(Worker{active_->number, effect.id, effect.what, active_->machine.record()});
  Dice& dice = host_.dice;
  Millis delay = dice.between(1, 40);
  if (may_fail(effect.what)) {
    worker.fails = dice.chance(shared_.is_calm ? 0 : kFails);
    if (dice.chance(shared_.is_calm ? 0 : kSlow)) delay = dice.between(1'000, 20'000);
    if (worker.fails || delay > Millis(40)) shared_.on_fault(delay, worker.fails);
  }
  if (std::holds_alternative<effect::RunCheck>(effect.what)) {
    const StorePath* runs = host_.running ? &*host_.running : nullptr;
    if (runs && host_.release(*runs).health < 1 && dice.chance(0.2)) delay = kCheckTimeout;
  }
  const auto it = std::prev(workers_.end());
  host_.timeline.after(delay, [this, it] {
    if (!is_alive_) return;
    if (is_frozen_ && host_.dice.chance(0.5))
      post([this, it] { place(*it); });
    else
      place(*it);
  });
}

void Process::place(Worker& worker) {
  if (worker.is_placed || !host_.is_on) return;
  // To stop switches is to wait first for those that are being started.
  const bool is_starting = std::ranges::any_of(workers_, [](const Worker& w) {
    return !w.is_placed && std::holds_alternative<effect::RunSwitch>(w.what);
  });
  if (is_starting && std::holds_alternative<effect::StopSwitch>(worker.what)) {
    host_.timeline.after(Millis(20), [this, &worker] {
      if (is_alive_) place(worker);
    });
    return;
  }
  worker.is_placed = true;
  if (is_alive_ && point()) return;
  const bool fails_first = worker.fails && host_.dice.chance(0.5);
  if (fails_first) return tell(worker, Error{ErrorKind::kFailed, "injected"});
  if (const auto* run = std::get_if<effect::RunSwitch>(&worker.what)) {
    if (!run->attach && !host_.is_unit_running(run->unit)) host_.start_switch(*run, worker.record.spec);
    if (!is_alive_) return;
    // Who leaves waits for none.
    if (is_leaving_) {
      worker.is_over = true;
      return leave_when_done();
    }
    if (worker.fails) return tell(worker, Error{ErrorKind::kFailed, "injected"});
    const auto number = worker.number;
    const auto id = worker.id;
    host_.wait_for_unit(run->unit, [this, number, id, unit = run->unit](std::optional<int> exit) {
      SwitchExit ended = host_.exit_of(unit);
      ended.exit_code = exit;
      for (auto& w : workers_)
        if (w.number == number && w.id == id && !w.is_over) return tell(w, EffectValue(ended));
    });
    return;
  }
  auto result = carry_out(worker.what, worker.record);
  if (!is_alive_) return;
  if (worker.fails) result = Error{ErrorKind::kFailed, "injected"};
  tell(worker, std::move(result));
}

void Process::tell(const Worker& worker, Result<EffectValue> result) {
  const auto number = worker.number;
  const auto id = worker.id;
  host_.timeline.after(host_.dice.between(1, 20), [this, number, id, result = std::move(result)] {
    post([this, number, id, result] {
      if (point()) return;
      workers_.remove_if([&](const Worker& w) { return w.number == number && w.id == id; });
      if (is_leaving_) return leave_when_done();
      if (active_ && active_->number == number) inputs_.emplace_back(EffectEnded{id, result});
      turn();
    });
  });
}

Result<EffectValue> Process::carry_out(const effect::Any& what, const ActivationRecord& record) {
  const ActivationSpec& spec = record.spec;
  Disk& disk = host_.disk;
  const bool is_full = disk.refuses(host_.timeline.now());
  const Error full{ErrorKind::kFailed, "no space left on device"};
  const auto profile_of = [&](size_t index) -> Profile& {
    const ProfileSpec& profile = spec.profiles.at(index);
    return profile.is_system() ? disk.system : disk.user_profiles[profile.name];
  };
  if (const auto* read = std::get_if<effect::ReadState>(&what)) {
    shared_.on_read(spec.deployment, read->is_baseline);
    return EffectValue(host_.state(record, *read));
  }
  if (std::holds_alternative<effect::HoldRoots>(what)) {
    if (is_full) return full;
    const auto hold = [&](const std::string& which, const std::optional<StorePath>& path) {
      if (path) disk.roots.insert_or_assign(root(record, which), *path);
    };
    hold("before", record.before.running);
    for (const auto& profile : spec.profiles) {
      hold("new-" + profile.name, profile.new_path);
      hold("profile-" + profile.name, profile_state(record.before, profile).path);
    }
  } else if (std::holds_alternative<effect::ReleaseRoots>(what)) {
    std::erase_if(disk.roots, [&](const auto& r) { return r.first.starts_with(spec.deployment.str()); });
  } else if (std::holds_alternative<effect::ArmDeadman>(what)) {
    shared_.arm_deadman(spec.deployment);
  } else if (std::holds_alternative<effect::DisarmDeadman>(what)) {
    if (follows_) shared_.disarm_deadman(spec.deployment);
  } else if (const auto* stop = std::get_if<effect::StopSwitch>(&what)) {
    host_.stop_units(spec.deployment);
    SwitchExit stopped = host_.exit_of(stop->unit);
    stopped.exit_code.reset();
    return EffectValue(stopped);
  } else if (std::holds_alternative<effect::ClearLeftovers>(what)) {
    host_.services.clear_lists();
  } else if (const auto* start = std::get_if<effect::StartUnits>(&what)) {
    host_.services.start_some({start->units.begin(), start->units.end()}, host_.files());
  } else if (std::holds_alternative<effect::RunCheck>(what)) {
    const bool passed = host_.running && host_.dice.chance(host_.release(*host_.running).health);
    return EffectValue(CheckResult{passed, "check"});
  } else if (const auto* set = std::get_if<effect::SetProfile>(&what)) {
    if (is_full) return full;
    if (!disk.has(set->path)) shared_.on_missing(set->path, "set");
    profile_of(set->profile).set(set->path);
  } else if (const auto* restore = std::get_if<effect::RestoreProfile>(&what)) {
    const ProfileState before = profile_state(record.before, spec.profiles.at(restore->profile));
    if (is_full) return full;
    if (before.path && !disk.has(*before.path)) shared_.on_missing(*before.path, "restore");
    if (spec.profiles.at(restore->profile).is_system()) shared_.on_restore(spec);
    profile_of(restore->profile).restore(restore->generation, before.path);
  }
  return EffectValue{};
}

}  // namespace flurry::sim
