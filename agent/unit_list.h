#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace flurry::agent {

struct ListedUnit {
  std::string name;
  std::string load;    // "loaded", "not-found", "masked"
  std::string active;  // "active", "activating", "failed", "inactive"
  std::string state;   // systemd's finer one: "failed", "auto-restart"
};

// The output of `systemctl list-units --plain --no-legend`. Lines that are none are passed over. Any thread.
std::vector<ListedUnit> parse_unit_list(std::string_view text);

struct ListedJob {
  std::string unit;
  std::string type;  // "start"
};

// The output of `systemctl list-jobs --plain --no-legend`, likewise.
std::vector<ListedJob> parse_job_list(std::string_view text);

// The output of `systemctl show` for several units: the properties of each, in its order.
using UnitProperties = std::map<std::string, std::string>;
std::vector<UnitProperties> parse_unit_properties(std::string_view text);

}  // namespace flurry::agent
