#pragma once

#include <set>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/system_state.h"

namespace flurry::agent {

// What is to be told of a host's units.
struct UnitQuestion {
  bool is_baseline = false;          // tell the steady ones
  std::vector<SteadyUnit> recorded;  // tell which of these are missing
  long long recorded_unix_ms = 0;    // when they were recorded
  std::vector<std::string> units;    // tell the states of these
  std::string old_units, new_units;  // folders of unit files that a release exchanges; may be empty
};

// Fills in failed_units, jobs, and what was asked for. Asks systemd two to four times; any thread.
Result<void> read_units(const UnitQuestion& question, SystemState& out);

// Units in the failed state, and those that wait to be started again after a failure; but those of users'
// logins, which any of them can make fail.
Result<std::vector<std::string>> read_failed_units();

Result<std::set<std::string>> read_active_units();

// Whether a unit's file differs between two folders of unit files; that of a template stands for its
// instances.
bool is_unit_changed(const std::string& unit, const std::string& old_units, const std::string& new_units);

// Those of `systemctl show` that are active and expected to stay so (see SteadyUnit). Reads no host.
std::vector<SteadyUnit> steady_units_of(std::string_view shown);

}  // namespace flurry::agent
