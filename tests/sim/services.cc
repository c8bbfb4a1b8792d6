#include "tests/sim/services.h"

#include <algorithm>

namespace flurry::sim {
namespace {

using State = Service::State;

std::string joined(const std::set<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

}  // namespace

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> kKinds = {
      {.name = "app.service", .change = Kind::Change::kRestart},
      {.name = "broken.service"},
      {.name = "bus.service", .is_wanted = false, .may_end = true},
      {.name = "hand.service", .is_wanted = false, .may_end = true},
      {.name = "rel.service", .change = Kind::Change::kReload},
      {.name = "tied.service",
       .is_wanted = false,
       .may_end = true,
       .change = Kind::Change::kReload,
       .needs = "web.service"},
      {.name = "web.service"},
  };
  return kKinds;
}

const Kind& kind_of(const std::string& name) {
  return *std::ranges::find_if(kinds(), [&](const Kind& kind) { return kind.name == name; });
}

void Services::boot(const Configuration& files) {
  services_.clear();
  lists.clear();
  jobs.clear();
  for (const auto& kind : kinds())
    if (kind.is_wanted && files.contains(kind.name)) start_one(kind.name, files);
}

std::set<std::string> Services::plan(const Configuration& from, const Configuration& to) {
  std::set<std::string> to_stop;
  for (const auto& [name, service] : services_) {
    const auto old_file = from.find(name);
    if (service.state != State::kActive || old_file == from.end()) continue;
    const auto new_file = to.find(name);
    if (new_file == to.end()) {
      to_stop.insert(name);
    } else if (new_file->second.version != old_file->second.version) {
      const Kind::Change change = kind_of(name).change;
      if (change == Kind::Change::kStopStart) to_stop.insert(name);
      lists[change == Kind::Change::kReload    ? "reload-list"
            : change == Kind::Change::kRestart ? "restart-list"
                                               : "start-list"]
          .insert(name);
    }
  }
  return to_stop;
}

bool Services::start_one(const std::string& name, const Configuration& files) {
  Service& service = services_[name];
  const auto file = files.find(name);
  if (service.state == State::kActive || file == files.end()) return file != files.end();
  const std::string& needs = kind_of(name).needs;
  if (!needs.empty() && !is_active(needs) && !start_one(needs, files)) return false;
  service = {.version = file->second.version};
  if (file->second.start == Declared::Start::kWell) service.state = State::kActive;
  if (file->second.start == Declared::Start::kFails) service.state = State::kFailed;
  return service.state == State::kActive;
}

void Services::stop_one(const std::string& name) {
  if (!is_active(name)) return;
  services_.at(name) = {};
  for (const auto& kind : kinds())
    if (kind.needs == name) stop_one(kind.name);
}

void Services::stop(const std::set<std::string>& units, Said& said) {
  if (!units.empty()) said.lines += "stopping the following units: " + joined(units) + "\n";
  for (const auto& name : units) stop_one(name);
}

bool Services::reload(const Configuration& files, Said& said) {
  const auto to_reload = lists["reload-list"];
  for (const auto& name : to_reload)
    // Nothing refers to one that was started by hand and has ended: it isn't loaded any more.
    if (!is_active(name) && !kind_of(name).is_wanted) {
      said.lines += "Unit " + name + " not loaded.\n";
      return false;
    }
  if (!to_reload.empty()) said.lines += "reloading the following units: " + joined(to_reload) + "\n";
  for (const auto& name : to_reload) {
    const auto file = files.find(name);
    const bool fails = file == files.end() || file->second.reload_fails;
    if (!is_active(name)) {
      lists["start-list"].insert(name);
      continue;
    }
    Service& service = services_.at(name);
    service.version = fails ? std::nullopt : std::optional(file->second.version);
    if (!fails) continue;
    said.lines += "Failed to reload " + name + "\n";
    said.has_failed_jobs = true;
  }
  lists.erase("reload-list");
  return true;
}

void Services::restart(const Configuration& files, Said& said) {
  const auto to_restart = lists["restart-list"];
  if (!to_restart.empty()) said.lines += "restarting the following units: " + joined(to_restart) + "\n";
  for (const auto& name : to_restart) {
    stop_one(name);
    if (start_one(name, files)) continue;
    said.lines += "Failed to restart " + name + "\n";
    said.has_failed_jobs = true;
  }
  lists.erase("restart-list");
}

// Targets are started again, and with them whatever they want and isn't there; of that nothing is told.
void Services::start(const Configuration& files, Said& said) {
  const auto to_start = lists["start-list"];
  if (!to_start.empty()) said.lines += "starting the following units: " + joined(to_start) + "\n";
  for (const auto& name : to_start) {
    if (start_one(name, files)) continue;
    said.lines += "Failed to start " + name + "\n";
    said.has_failed_jobs = true;
  }
  lists.erase("start-list");
  for (const auto& kind : kinds())
    if (kind.is_wanted && files.contains(kind.name)) start_one(kind.name, files);
  std::set<std::string> failures;
  for (const auto& name : failed()) failures.insert(name);
  if (!failures.empty()) said.lines += "warning: the following units failed: " + joined(failures) + "\n";
  said.has_failed_jobs |= !failures.empty();
}

std::set<std::string> Services::half_of(const std::set<std::string>& units, Dice& dice) const {
  std::set<std::string> out;
  for (const auto& name : units)
    if (dice.chance(0.5)) out.insert(name);
  return out;
}

void Services::restart_some(const std::set<std::string>& units, const Configuration& files) {
  for (const auto& name : units) stop_one(name);
  start_some(units, files);
}

void Services::start_some(const std::set<std::string>& units, const Configuration& files) {
  for (const auto& name : units) start_one(name, files);
}

void Services::stop_all() {
  for (const auto& kind : kinds()) stop_one(kind.name);
  jobs.clear();
}

bool Services::end_by_itself(const std::string& name) {
  if (!is_active(name) || !kind_of(name).may_end) return false;
  services_.at(name) = {.ended_by_itself = true};
  return true;
}

void Services::fail(const std::string& name) {
  if (is_active(name)) services_.at(name) = {.state = State::kFailed, .failed_by_itself = true};
}

bool Services::is_active(const std::string& name) const {
  const auto it = services_.find(name);
  return it != services_.end() && it->second.state == State::kActive;
}

std::vector<std::string> Services::failed() const {
  std::vector<std::string> out;
  for (const auto& [name, service] : services_)
    if (service.state == State::kFailed) out.push_back(name);
  return out;
}

std::vector<SteadyUnit> Services::steady() const {
  std::vector<SteadyUnit> out;
  for (const auto& [name, service] : services_)
    if (service.state == State::kActive) out.push_back({name, kind_of(name).may_end});
  return out;
}

std::vector<MissingUnit> Services::missing(const std::vector<SteadyUnit>& recorded,
                                           const Configuration& files) const {
  std::vector<MissingUnit> out;
  for (const auto& unit : recorded) {
    if (is_active(unit.name)) continue;
    MissingUnit& missing = out.emplace_back(MissingUnit{.name = unit.name, .may_end = unit.may_end});
    const auto it = services_.find(unit.name);
    const bool is_starting =
        std::ranges::any_of(jobs, [&](const UnitJob& job) { return job.unit == unit.name; });
    if (it != services_.end() && it->second.state == State::kFailed)
      missing.state = MissingUnit::State::kFailed;
    else if (is_starting)
      missing.state = MissingUnit::State::kStarting;
    else if (!files.contains(unit.name))
      missing.state = MissingUnit::State::kRemoved;
    else
      missing.ended_by_itself = unit.may_end && it != services_.end() && it->second.ended_by_itself;
  }
  return out;
}

void Services::clear_lists() {
  for (auto& [list, units] : lists)
    std::erase_if(units, [this](const std::string& unit) { return !is_active(unit); });
}

std::vector<std::string> Services::leftovers() const {
  std::vector<std::string> out;
  for (const auto& [list, units] : lists)
    if (!units.empty()) out.push_back(list);
  return out;
}

}  // namespace flurry::sim
