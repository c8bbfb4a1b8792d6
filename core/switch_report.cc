#include "core/switch_report.h"

#include <algorithm>
#include <array>
#include <optional>

namespace flurry {
namespace {

constexpr size_t kNamesMax = 1000;

constexpr std::array<std::string_view, 4> kJobTypes{"start", "stop", "restart", "reload"};
constexpr std::array<std::string_view, 11> kUnitTypes{".service",   ".socket", ".target", ".mount",
                                                      ".automount", ".timer",  ".path",   ".swap",
                                                      ".slice",     ".scope",  ".device"};

bool is_unit_name(std::string_view text) {
  if (text.size() > 256 || text.find(' ') != std::string_view::npos) return false;
  return std::any_of(kUnitTypes.begin(), kUnitTypes.end(), [&](std::string_view type) {
    return text.size() > type.size() && text.ends_with(type);
  });
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

void add_name(std::vector<std::string>& names, std::string_view name) {
  if (names.size() < kNamesMax && std::find(names.begin(), names.end(), name) == names.end())
    names.emplace_back(name);
}

// "a.service, b.service"
void add_list(std::vector<std::string>& names, std::string_view list) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    std::string_view name = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ') || name.ends_with('\r')) name.remove_suffix(1);
    if (is_unit_name(name)) add_name(names, name);
  }
}

// "start app.service", "reload app.service: some reason"
std::optional<SwitchReport::Job> parse_job(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const std::string_view type = text.substr(0, space);
  if (std::find(kJobTypes.begin(), kJobTypes.end(), type) == kJobTypes.end()) return std::nullopt;
  std::string_view unit = text.substr(space + 1);
  unit = unit.substr(0, unit.find_first_of(": \r"));
  if (unit.ends_with('.')) unit.remove_suffix(1);
  if (!is_unit_name(unit)) return std::nullopt;
  return SwitchReport::Job{std::string(type), std::string(unit)};
}

void read_line(std::string_view line, SwitchReport& out) {
  if (line.starts_with("activating the configuration...")) out.has_begun = true;
  if (take_prefix(line, "stopping the following units: ")) {
    out.has_begun = true;
    return add_list(out.queued_units, line);
  }
  for (const std::string_view list : {"starting the following units: ", "restarting the following units: ",
                                      "reloading the following units: "})
    if (take_prefix(line, list)) return add_list(out.queued_units, line);
  if (take_prefix(line, "warning: the following units failed: ")) return add_list(out.failed_units, line);
  if (take_prefix(line, "warning: user activation for ")) {
    const size_t end = line.find(" failed");
    if (end != std::string_view::npos && end > 0 && end <= 64)
      add_name(out.failed_users, line.substr(0, end));
    return;
  }
  const bool is_snippet =
      line.starts_with("Activation script snippet '") && line.find("' failed (") != line.npos;
  if (is_snippet || line.starts_with("Failed to run activate script")) out.has_activation_failed = true;
  if (!take_prefix(line, "Failed to ")) return;
  const auto job = parse_job(line);
  const auto& known = out.failed_jobs;
  if (job && known.size() < kNamesMax && std::find(known.begin(), known.end(), *job) == known.end())
    out.failed_jobs.push_back(*job);
}

}  // namespace

SwitchReport parse_switch_report(std::string_view output) {
  SwitchReport out;
  while (!output.empty()) {
    const size_t end = std::min(output.find('\n'), output.size());
    read_line(output.substr(0, end), out);
    output.remove_prefix(std::min(end + 1, output.size()));
  }
  return out;
}

}  // namespace flurry
