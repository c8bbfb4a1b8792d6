#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/names.h"

namespace flurry {

// What a profile's present generation names, and its number; nothing where there is no such profile.
struct ProfileState {
  std::optional<StorePath> path;
  std::optional<uint64_t> generation;
  // False: we made the link name it, and its activation has not ended well since.
  bool is_activated = true;
  bool operator==(const ProfileState&) const = default;
};

// A unit that is active and that nothing but a job or a failure ends: no timer, path or socket triggers it,
// it is no plain oneshot, and it belongs to no login.
struct SteadyUnit {
  std::string name;
  // Or that may come to an end by itself: a bus name brings it back, or nobody wants it, so that somebody has
  // started it by hand and it may be a task. It is lost only where it failed or a job stopped it.
  bool may_end = false;
  bool operator==(const SteadyUnit&) const = default;
};

// A steady unit of the recorded state that is not active now.
struct MissingUnit {
  enum class State {
    kStarting,  // on its way: activating, deactivating, waiting for a restart
    kFailed,
    kInactive,
    kRemoved,  // it has no unit file any more, or is masked
  };
  std::string name;
  State state = State::kInactive;
  // It may end, and did, with Result=success and without a job; or it is a task that has nothing to do now.
  bool ended_by_itself = false;
  bool may_end = false;
  bool operator==(const MissingUnit&) const = default;
};

// A job in systemd's queue.
struct UnitJob {
  std::string unit;
  std::string type;  // "start", "stop", "restart", "reload"
  // The unit's file differs between the recorded and the new system.
  bool is_of_changed_unit = false;
  bool operator==(const UnitJob&) const = default;
};

// What a host is at one moment, as its kernel, its files and its systemd say it.
struct SystemState {
  std::optional<StorePath> running;    // /run/current-system; moves at the very end of an activation
  std::optional<StorePath> profile;    // what the system profile's present generation names
  std::optional<uint64_t> generation;  // that generation's number
  std::string boot_id;                 // differs after a reboot, and after a soft-reboot
  std::vector<std::string> failed_units;
  std::map<std::string, ProfileState> user_profiles;  // by name; those that were asked for

  // Where /etc/static leads: the system's own etc. Nothing where a host has no such link.
  std::optional<std::string> etc;
  // What the boot loader's files name; nothing where they can't be read with certainty.
  std::optional<StorePath> boot_default;
  // Lists of units that a switch which was broken off has left for the next one: "restart-list".
  std::vector<std::string> leftovers;
  std::vector<UnitJob> jobs;
  // Of the recorded state only.
  std::vector<SteadyUnit> steady_units;
  // Compared with the recorded state; of a later one only.
  std::vector<MissingUnit> missing_units;
  // Of units that were asked for: systemd's ActiveState, "inactive" where it knows no such unit.
  std::map<std::string, std::string> unit_states;
  bool is_switch_locked = false;  // somebody holds the lock of switch-to-configuration
};

}  // namespace flurry
