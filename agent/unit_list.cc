#include "agent/unit_list.h"

#include <algorithm>

namespace flurry::agent {
namespace {

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> out;
  while (!line.empty()) {
    const size_t end = std::min(line.find(' '), line.size());
    if (end > 0) out.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return out;
}

}  // namespace

std::vector<ListedUnit> parse_unit_list(std::string_view text) {
  std::vector<ListedUnit> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const auto columns = words(text.substr(0, end));  // unit load active sub …
    text.remove_prefix(std::min(end + 1, text.size()));
    if (columns.size() >= 4) out.push_back({std::string(columns[0]), std::string(columns[3])});
  }
  return out;
}

}  // namespace flurry::agent
