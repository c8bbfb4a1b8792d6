#include "cli/ssh/algorithms.h"

#include <algorithm>

namespace flurry::ssh {

std::vector<std::string> split_algorithms(std::string_view list) {
  std::vector<std::string> out;
  while (!list.empty()) {
    const auto name = list.substr(0, list.find(','));
    list.remove_prefix(std::min(name.size() + 1, list.size()));
    if (!name.empty()) out.emplace_back(name);
  }
  return out;
}

bool has_algorithm(std::string_view list, std::string_view name) {
  const auto names = split_algorithms(list);
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string common_algorithms(std::string_view ours, std::string_view allowed) {
  std::string out;
  for (const auto& name : split_algorithms(ours))
    if (has_algorithm(allowed, name)) out += (out.empty() ? "" : ",") + name;
  return out;
}

}  // namespace flurry::ssh
