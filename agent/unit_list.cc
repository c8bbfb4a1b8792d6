#include "agent/unit_list.h"

#include <algorithm>
#include <utility>

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
    if (columns.size() >= 4)
      out.push_back({std::string(columns[0]), std::string(columns[1]), std::string(columns[2]),
                     std::string(columns[3])});
  }
  return out;
}

std::vector<ListedJob> parse_job_list(std::string_view text) {
  std::vector<ListedJob> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const auto columns = words(text.substr(0, end));  // number unit type state
    text.remove_prefix(std::min(end + 1, text.size()));
    const bool is_job = columns.size() >= 4 && columns[0].find_first_not_of("0123456789") == columns[0].npos;
    if (is_job) out.push_back({std::string(columns[1]), std::string(columns[2])});
  }
  return out;
}

std::vector<UnitProperties> parse_unit_properties(std::string_view text) {
  std::vector<UnitProperties> out;
  bool is_between = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = line.find('=');
    if (line.empty()) is_between = true;
    if (equals == std::string_view::npos) continue;
    if (std::exchange(is_between, false)) out.emplace_back();
    out.back().emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  return out;
}

}  // namespace flurry::agent
