#include <algorithm>

#include "tests/sim/machine.h"

// What runs of switch-to-configuration do to a machine, as docs/nixos.md has it, and where they are broken
// off.

namespace flurry::sim {
namespace {

constexpr int kLockIsHeld = 11;
constexpr int kRefused = 1;
constexpr int kActivationFailed = 2;
constexpr int kUnitsFailed = 4;

std::string short_name(const std::string& unit) { return unit.substr(0, unit.find("-01")); }

bool is_way_back(const std::string& unit) { return unit.starts_with("flurry-rollback"); }

}  // namespace

void Machine::later(const std::string& unit, Millis delay, std::function<void()> then) {
  const uint64_t born = boot;
  timeline.after(delay, [this, born, unit, then] {
    if (is_on && boot == born && is_unit_running(unit)) then();
  });
}

void Machine::start_switch(const effect::RunSwitch& what, const ActivationSpec& spec) {
  on_switch(what, spec);
  const ProfileSpec& profile = spec.profiles.at(what.profile);
  Unit unit{.deployment = spec.deployment, .closure = what.closure, .is_system = profile.is_system()};
  start_unit(what.unit, std::move(unit), what.action, profile.name);
}

// A second switch-to-configuration finds the lock of the first and does nothing.
void Machine::start_unit(const std::string& name_of_unit, Unit unit, effect::SwitchAction action,
                         const std::string& profile) {
  const bool is_system = unit.is_system;
  const StorePath closure = unit.closure;
  const bool refuses = (is_system && is_locked(name_of_unit)) || !disk.has(closure);
  timeline.tell(name, "unit " + short_name(name_of_unit) + " starts " + closure.str().substr(11, 1) +
                          (refuses ? ", locked out" : ""));
  units_.insert_or_assign(name_of_unit, std::move(unit));
  const Release& behaves = release(closure);
  if (refuses)
    return later(name_of_unit, Millis(5), [this, name_of_unit] { end_unit(name_of_unit, kLockIsHeld); });
  switch (action) {
    case effect::SwitchAction::kBoot:
      if (is_system) return later(name_of_unit, Millis(100), [this, name_of_unit] { install(name_of_unit); });
      [[fallthrough]];
    case effect::SwitchAction::kDryActivate:
      return later(name_of_unit, Millis(200), [this, name_of_unit] { end_unit(name_of_unit, 0); });
    case effect::SwitchAction::kActivate:
      if (behaves.exit == 0)
        later(name_of_unit, Millis(250),
              [this, profile, closure] { user_active.insert_or_assign(profile, closure); });
      if (behaves.hangs) return;
      return later(name_of_unit, Millis(500),
                   [this, name_of_unit, exit = behaves.exit] { end_unit(name_of_unit, exit); });
    case effect::SwitchAction::kTest:
      return later(name_of_unit, Millis(5), [this, name_of_unit] { step(name_of_unit, SwitchStep::kLists); });
  }
}

// The loader's own program may fail before it has written anything, or after it.
void Machine::install(const std::string& unit) {
  if (!units_.at(unit).deployment) ++disturbances_;
  const bool fails = units_.at(unit).deployment && dice.chance(boot_loader_fails);
  if (!fails || dice.chance(0.5)) disk.boot_default = units_.at(unit).closure;
  later(unit, Millis(100), [this, unit, fails] { end_unit(unit, fails ? kRefused : 0); });
}

void Machine::step(const std::string& unit, SwitchStep at) {
  if (!units_.at(unit).deployment) ++disturbances_;
  if (is_broken_off(unit, at) || !carry_out(unit, at)) return;
  const auto next = static_cast<SwitchStep>(static_cast<int>(at) + 1);
  later(unit, release(units_.at(unit).closure).takes / 8, [this, unit, next] { step(unit, next); });
}

bool Machine::is_broken_off(const std::string& name_of_unit, SwitchStep at) {
  Unit& unit = units_.at(name_of_unit);
  const auto& trouble = release(unit.closure).trouble;
  // Somebody else's goes well: what it would leave is his.
  if (!trouble || trouble->at != at || !unit.deployment) return false;
  if (troubles_[unit.closure]++ >= trouble->times) return false;
  if (is_way_back(name_of_unit)) on_trouble(trouble->hangs ? Millis(60'000) : Millis(20'000));
  do_half(unit, at);
  if (!trouble->hangs) end_unit(name_of_unit, trouble->exit);
  return true;
}

void Machine::do_half(Unit& unit, SwitchStep at) {
  const Configuration& files = release(unit.closure).units;
  if (at == SwitchStep::kStop) services.stop(services.half_of(unit.to_stop, dice), unit.said);
  if (at == SwitchStep::kEtc && dice.chance(0.5)) {
    unit.said.lines += "activating the configuration...\n";
    etc = unit.closure;
  }
  if (at == SwitchStep::kRestart)
    services.restart_some(services.half_of(services.lists["restart-list"], dice), files);
  if (at != SwitchStep::kStart) return;
  const auto to_start = services.lists["start-list"];
  const auto started = services.half_of(to_start, dice);
  services.start_some(started, files);
  for (const auto& service : to_start) {
    if (started.contains(service) || dice.chance(0.7)) continue;
    // Its job was queued.
    services.jobs.push_back({service, "start"});
    timeline.after(dice.between(100, 30'000), [this, born = boot, service] {
      if (!is_on || boot != born) return;
      std::erase_if(services.jobs, [&](const UnitJob& job) { return job.unit == service; });
      services.start_some({service}, this->files());
    });
  }
}

// False: it has ended.
bool Machine::carry_out(const std::string& name_of_unit, SwitchStep at) {
  Unit& unit = units_.at(name_of_unit);
  const Release& to = release(unit.closure);
  switch (at) {
    case SwitchStep::kLists:
      if (unit.installs_boot) disk.boot_default = unit.closure;
      unit.to_stop = services.plan(files(), to.units);
      return true;
    case SwitchStep::kStop:
      services.stop(unit.to_stop, unit.said);
      return true;
    case SwitchStep::kEtc:
      unit.said.lines += "activating the configuration...\n";
      etc = unit.closure;
      has_activation_failed = activations_[unit.closure]++ < to.failing_activations;
      if (has_activation_failed) unit.said.lines += "Failed to run activate script\n";
      return true;
    case SwitchStep::kRunning:
      begin_to_run(unit.closure);
      return true;
    case SwitchStep::kReload:
      if (services.reload(to.units, unit.said)) return true;
      end_unit(name_of_unit, kRefused);
      return false;
    case SwitchStep::kRestart:
      services.restart(to.units, unit.said);
      if (to.replaces_agent && on_replaced_agent) on_replaced_agent();
      return true;
    case SwitchStep::kStart:
      start_services(name_of_unit);
      return is_unit_running(name_of_unit);
    case SwitchStep::kEnd:
      end_unit(name_of_unit, unit.said.has_failed_jobs ? kUnitsFailed
                             : has_activation_failed   ? kActivationFailed
                                                       : 0);
      return false;
  }
  return false;
}

void Machine::begin_to_run(const StorePath& system) {
  running = system;
  timeline.tell(name, "now runs " + system.str().substr(11, 1));
  const Release& now = release(system);
  if (!now.unit_fails) return;
  timeline.after(*now.unit_fails, [this, born = boot, system] {
    if (!is_on || boot != born || running != system) return;
    ++disturbances_;
    services.fail("web.service");
  });
}

// Emergency mode stops what needs sysinit.target: the agent, sshd and the switch, too. It ends when a good
// system's targets are started.
void Machine::start_services(const std::string& unit) {
  const Release& to = release(units_.at(unit).closure);
  is_emergency = to.is_emergency;
  if (!is_emergency) return services.start(to.units, units_.at(unit).said);
  timeline.tell(name, "emergency mode");
  services.stop_all();
  end_unit(unit, std::nullopt);
  on_emergency();
}

void Machine::end_unit(const std::string& name_of_unit, std::optional<int> exit) {
  Unit& unit = units_.at(name_of_unit);
  unit.is_running = false;
  unit.exit = exit;
  const bool loses_lines = dice.chance(release(unit.closure).loses_lines);
  std::string told =
      "unit " + short_name(name_of_unit) + " ends: " + (exit ? std::to_string(*exit) : "killed");
  for (const char c : unit.said.lines) told += c == '\n' ? std::string(" | ") : std::string(1, c);
  timeline.tell(name, told + (loses_lines ? " (lost)" : ""));
  if (!loses_lines) journal_[name_of_unit] += unit.said.lines;
  const bool is_reload_lost = unit.said.lines.find("Failed to reload") != std::string::npos;
  if ((loses_lines || is_reload_lost) && is_way_back(name_of_unit)) on_trouble(Millis(0));
  for (const auto& then : std::exchange(unit.waiting, {})) then(exit);
}

}  // namespace flurry::sim
