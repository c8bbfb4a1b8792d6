#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flurry::agent {

struct ListedUnit {
  std::string name;
  std::string state;  // systemd's finer one: "failed", "auto-restart"
};

// The output of `systemctl list-units --plain --no-legend`. Lines that are none are passed over. Any thread.
std::vector<ListedUnit> parse_unit_list(std::string_view text);

}  // namespace flurry::agent
