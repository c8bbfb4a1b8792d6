#include "tests/sim/truth.h"

#include <algorithm>

// Written from the promises, not from core/switch_verdict: what a unit has in effect is looked up here, where
// the product can only see exit codes, lines and states.

namespace flurry::sim {
namespace {

using State = Service::State;

std::string name_of(const std::optional<StorePath>& path) {
  return path ? path->str().substr(11, 1) : "nothing";
}

std::optional<int> version_in(const Configuration& files, const std::string& unit) {
  const auto it = files.find(unit);
  return it == files.end() ? std::nullopt : std::optional(it->second.version);
}

Service service_in(const Truth& truth, const std::string& unit) {
  const auto it = truth.services.find(unit);
  return it == truth.services.end() ? Service{} : it->second;
}

std::string newly_failed_in(const Truth& before, const Truth& now) {
  for (const auto& [unit, service] : now.services)
    if (service.state == State::kFailed && !service.failed_by_itself &&
        service_in(before, unit).state != State::kFailed)
      return unit + " has failed";
  return "";
}

// One that may end and did so by itself is as it should be; and so is one by hand after a reboot.
bool may_be_away(const std::string& unit, const Service& now, bool was_rebooted) {
  return kind_of(unit).may_end && (now.ended_by_itself || was_rebooted);
}

}  // namespace

Truth look_at(const Machine& machine) {
  Truth out;
  out.running = machine.running;
  out.boot_default = machine.disk.boot_default;
  out.profile = machine.disk.system.state().path;
  for (const auto& [name, profile] : machine.disk.user_profiles)
    if (profile.present) out.users[name] = profile.state().path;
  out.etc = machine.etc;
  out.services = machine.services.all();
  out.lists = machine.services.lists;
  out.has_activation_failed = machine.has_activation_failed;
  out.boot = machine.boot;
  return out;
}

std::string not_as_before(const Truth& before, const Truth& now, const Configuration& recorded,
                          bool was_somebody_here) {
  const bool was_rebooted = now.boot != before.boot;
  if (now.etc != before.etc && now.etc != before.running) return "its /etc is of " + name_of(now.etc);
  if (!was_somebody_here && now.has_activation_failed && !before.has_activation_failed)
    return "its activation failed";
  for (const auto& [list, units] : now.lists) {
    const auto old = before.lists.find(list);
    for (const auto& unit : units)
      // One that was there may have grown: by their names that can't be told.
      if (old == before.lists.end() || old->second.empty()) return unit + " is left on a " + list;
  }
  for (const auto& [unit, service] : before.services) {
    if (service.state != State::kActive) continue;
    const Service is = service_in(now, unit);
    if (may_be_away(unit, is, was_rebooted) && is.state == State::kInactive) continue;
    if (was_rebooted && !recorded.contains(unit)) continue;
    if (is.state == State::kFailed && is.failed_by_itself) continue;
    if (is.state != State::kActive) return unit + " ran and does no more";
    if (!was_somebody_here && is.version != service.version && is.version != version_in(recorded, unit))
      return unit + " has " + (is.version ? "what the release brought" : "nobody knows what") + " in effect";
  }
  return newly_failed_in(before, now);
}

bool is_doubtful(const Truth& now) {
  return now.has_activation_failed || std::ranges::any_of(now.services, [](const auto& service) {
           return service.second.state == State::kActive && !service.second.version;
         });
}

std::string not_as_new(const Truth& before, const Truth& now, const Configuration& recorded,
                       const Configuration& wanted) {
  if (now.etc != now.running) return "its /etc is of " + name_of(now.etc);
  if (now.has_activation_failed) return "its activation failed";
  for (const auto& [list, units] : now.lists)
    if (!units.empty()) return *units.begin() + " is left on a " + list;
  // What a unit makes of the next boot is beyond what was to be looked at.
  if (now.boot != before.boot) return "";
  for (const auto& [unit, service] : before.services) {
    const auto version = version_in(wanted, unit);
    if (service.state != State::kActive || !version) continue;
    const Service is = service_in(now, unit);
    if (may_be_away(unit, is, false) && is.state == State::kInactive) continue;
    if (is.state == State::kFailed && is.failed_by_itself) continue;
    if (is.state != State::kActive) return unit + " ran and does no more";
    // One that was not what its file said before may still not be.
    if (is.version != version && service.version == version_in(recorded, unit))
      return unit + " has not the new file in effect";
  }
  return newly_failed_in(before, now);
}

}  // namespace flurry::sim
