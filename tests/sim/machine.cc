#include "tests/sim/machine.h"

#include <algorithm>

namespace flurry::sim {

SystemState Machine::state(const ActivationSpec* spec) const {
  SystemState out;
  out.running = running;
  const ProfileState system = disk.system.state();
  out.profile = system.path;
  out.generation = system.generation;
  out.boot_id = name + "-" + std::to_string(boot);
  for (const auto& profile : spec ? spec->profiles : std::vector<ProfileSpec>()) {
    if (profile.is_system()) continue;
    const auto it = disk.user_profiles.find(profile.name);
    out.user_profiles[profile.name] = it == disk.user_profiles.end() ? ProfileState{} : it->second.state();
  }
  if (running) {
    const Release& now = release(*running);
    if (now.unit_fails && timeline.now() >= runs_since + *now.unit_fails) out.failed_units = {"web.service"};
  }
  return out;
}

const Release& Machine::release(const StorePath& path) const {
  static const Release kGood;
  const auto it = releases.find(path);
  return it == releases.end() ? kGood : it->second;
}

bool Machine::is_unit_running(const std::string& unit) const {
  const auto it = units_.find(unit);
  return it != units_.end() && it->second.is_running;
}

bool Machine::is_switching() const {
  return std::any_of(units_.begin(), units_.end(), [](const auto& u) { return u.second.is_running; });
}

// A second switch-to-configuration finds the lock of the first and does nothing.
void Machine::start_switch(const effect::RunSwitch& what, const ActivationSpec& spec) {
  on_switch(what, spec);
  const bool is_system = spec.profiles.at(what.profile).is_system();
  const bool is_locked = is_system && std::any_of(units_.begin(), units_.end(), [](const auto& u) {
                           return u.second.is_running && u.second.is_system;
                         });
  units_.insert_or_assign(
      what.unit, Unit{.deployment = spec.deployment, .is_system = is_system, .exit = {}, .waiting = {}});
  timeline.tell(name, "unit " + what.unit.substr(0, what.unit.find("-01")) + " starts " +
                          what.closure.str().substr(11, 1) + (is_locked ? ", locked out" : ""));
  const Release& behaves = release(what.closure);
  const bool is_test =
      what.action == effect::SwitchAction::kTest || what.action == effect::SwitchAction::kActivate;
  const uint64_t born = boot;
  const auto later = [this, born, unit = what.unit](Millis delay, std::function<void()> then) {
    timeline.after(delay, [this, born, unit, then] {
      if (is_on && boot == born && is_unit_running(unit)) then();
    });
  };
  if (is_locked || !disk.has(what.closure))
    return later(Millis(5), [this, unit = what.unit] { end_unit(unit, 1); });
  const bool boot_fails = what.action == effect::SwitchAction::kBoot && dice.chance(boot_loader_fails);
  const std::optional<int> exit = is_test ? behaves.switch_exit : std::optional(boot_fails ? 1 : 0);
  const Millis half = is_test ? behaves.takes / 2 : Millis(100);
  const bool nothing_done = (exit == 1 || exit == 100) && !(boot_fails && dice.chance(0.5));
  if (!nothing_done) later(half, [this, what, spec] { apply(what, spec); });
  if (is_test && behaves.hangs) return;
  later(2 * half, [this, unit = what.unit, exit] { end_unit(unit, exit); });
}

void Machine::apply(const effect::RunSwitch& what, const ActivationSpec& spec) {
  switch (what.action) {
    case effect::SwitchAction::kTest:
      if (running != what.closure) runs_since = timeline.now();
      running = what.closure;
      timeline.tell(name, "now runs " + what.closure.str().substr(11, 1));
      if (release(what.closure).replaces_agent && on_replaced_agent) on_replaced_agent();
      return;
    case effect::SwitchAction::kBoot:
      if (spec.profiles.at(what.profile).is_system()) disk.boot_default = what.closure;
      return;
    case effect::SwitchAction::kActivate:
      user_active.insert_or_assign(spec.profiles.at(what.profile).name, what.closure);
      return;
    case effect::SwitchAction::kDryActivate:
      return;
  }
}

void Machine::end_unit(const std::string& name_of_unit, std::optional<int> exit) {
  Unit& unit = units_.at(name_of_unit);
  unit.is_running = false;
  unit.exit = exit;
  timeline.tell(name, "unit " + name_of_unit.substr(0, name_of_unit.find("-01")) +
                          " ends: " + (exit ? std::to_string(*exit) : "killed"));
  for (const auto& then : std::exchange(unit.waiting, {})) then(exit);
}

void Machine::wait_for_unit(const std::string& unit, OnExit then) {
  const auto it = units_.find(unit);
  if (it == units_.end()) return then(std::nullopt);
  if (!it->second.is_running) return then(it->second.exit);
  it->second.waiting.push_back(std::move(then));
}

void Machine::stop_units(const DeploymentId& id) {
  for (auto& [unit, state] : units_)
    if (state.is_running && state.deployment == id) end_unit(unit, std::nullopt);
}

void Machine::power_off() {
  is_on = false;
  units_.clear();
  user_active.clear();
}

void Machine::power_on() {
  ++boot;
  is_on = true;
  running = disk.boot_default;
  runs_since = timeline.now();
}

}  // namespace flurry::sim
