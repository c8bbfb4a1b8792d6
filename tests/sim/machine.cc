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
  if (etc && has_etc_link) out.etc = etc_of(*etc);
  if (is_boot_loader_read) out.boot_default = disk.boot_default;
  out.leftovers = services.leftovers();
  out.is_switch_locked = is_locked("");
  out.failed_units = services.failed();
  return out;
}

SystemState Machine::state(const ActivationRecord& record, const effect::ReadState& what) const {
  SystemState out = state(&record.spec);
  if (what.is_baseline) out.steady_units = services.steady();
  out.missing_units = services.missing(record.before.steady_units, files());
  for (const auto& unit : what.units)
    out.unit_states[unit] = services.is_active(unit) ? "active" : "inactive";
  for (const auto& unit : out.failed_units)
    if (out.unit_states.contains(unit)) out.unit_states[unit] = "failed";
  const auto version = [this](const std::optional<StorePath>& system, const std::string& unit) {
    const auto& units = system ? release(*system).units : Configuration();
    const auto it = units.find(unit);
    return it == units.end() ? 0 : it->second.version;
  };
  out.jobs = services.jobs;
  for (auto& job : out.jobs)
    for (const auto& profile : record.spec.profiles)
      if (profile.is_system())
        job.is_of_changed_unit =
            version(record.before.running, job.unit) != version(profile.new_path, job.unit);
  return out;
}

const Release& Machine::release(const StorePath& path) const {
  static const Release kGood;
  const auto it = releases.find(path);
  return it == releases.end() ? kGood : it->second;
}

const Configuration& Machine::files() const {
  static const Configuration kNone;
  return etc ? release(*etc).units : kNone;
}

std::optional<std::string> Machine::etc_of(const StorePath& system) const { return system.str() + "/etc"; }

bool Machine::is_unit_running(const std::string& unit) const {
  const auto it = units_.find(unit);
  return it != units_.end() && it->second.is_running;
}

bool Machine::is_switching() const {
  return std::ranges::any_of(units_,
                             [](const auto& u) { return u.second.is_running && u.second.deployment; });
}

bool Machine::is_somebody_switching() const {
  return std::ranges::any_of(units_,
                             [](const auto& u) { return u.second.is_running && !u.second.deployment; });
}

bool Machine::is_locked(const std::string& but) const {
  return timeline.now() < locked_until_ || std::ranges::any_of(units_, [&](const auto& u) {
           return u.first != but && u.second.is_running && u.second.is_system;
         });
}

SwitchExit Machine::exit_of(const std::string& unit) const {
  const auto it = units_.find(unit);
  if (it == units_.end()) return {std::nullopt, ""};
  const auto lines = journal_.find(unit);
  return {it->second.exit, lines == journal_.end() ? "" : lines->second,
          release(it->second.closure).tells_failed_activation, true};
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

void Machine::rebuild(const Rebuild& what) {
  if (!is_on || is_emergency) return;
  timeline.tell(name, std::string("somebody makes ") + what.path.str().substr(11, 1) +
                          (what.sets_profile ? ", the profile" : "") +
                          (what.installs_boot ? ", the boot default" : "") +
                          (what.switches ? ", what runs" : ""));
  disk.store.insert(what.path);
  disk.roots.insert_or_assign("somebody's-" + what.path.str().substr(11, 1), what.path);
  on_rebuild(what.path);
  ++disturbances_;
  if (what.sets_profile) disk.system.set(what.path);
  if (!what.installs_boot && !what.switches) return;
  start_unit("somebody-" + std::to_string(++rebuilds_),
             Unit{.deployment = {}, .closure = what.path, .installs_boot = what.installs_boot},
             what.switches ? effect::SwitchAction::kTest : effect::SwitchAction::kBoot, "system");
}

void Machine::hold_lock(Millis time) {
  if (!is_on) return;
  timeline.tell(name, "somebody holds the lock for " + std::to_string(time.count()) + " ms");
  locked_until_ = timeline.now() + time;
  on_trouble(time);
}

void Machine::end_by_itself(const std::string& service) {
  if (!is_on || !services.end_by_itself(service)) return;
  timeline.tell(name, service + " ends by itself");
  ++disturbances_;
}

void Machine::queue_unrelated_job(Millis time) {
  services.jobs.push_back({"backup.service", "start"});
  timeline.after(time, [this] {
    std::erase_if(services.jobs, [](const UnitJob& job) { return job.unit == "backup.service"; });
  });
}

void Machine::power_off() {
  is_on = false;
  units_.clear();
  user_active.clear();
  locked_until_ = {};
}

void Machine::power_on() {
  ++boot;
  ++disturbances_;
  is_on = true;
  is_emergency = false;
  has_activation_failed = false;
  running = etc = disk.boot_default;
  services.boot(files());
  if (running) begin_to_run(*running);
}

}  // namespace flurry::sim
