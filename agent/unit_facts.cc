#include "agent/unit_facts.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include "agent/tools.h"
#include "agent/unit_journal.h"
#include "agent/unit_list.h"
#include "core/switch_verdict.h"

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;

constexpr Millis kSystemctlTimeout{20'000};
constexpr size_t kJobsMax = 500;

// Where systemd finds the files of units that outlive their run; it has no folder of transient ones.
constexpr std::array<const char*, 8> kUnitFolders{
    "/etc/systemd/system",     "/run/systemd/system",         "/run/systemd/generator.early",
    "/run/systemd/generator",  "/run/systemd/generator.late", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system"};

// Kinds of units that a system is made of; devices, slices and scopes come and go with what uses them.
constexpr std::array<std::string_view, 8> kKinds{".service", ".socket", ".mount", ".automount",
                                                 ".swap",    ".timer",  ".path",  ".target"};

constexpr std::array<const char*, 6> kWantedBy{"WantedBy", "RequiredBy",  "UpheldBy",
                                               "BoundBy",  "RequisiteOf", "ConsistsOf"};

// Whether it is a user who decides if such a unit fails or ends: one kill of their own manager is enough, and
// must not take a deployment back.
bool is_a_users(std::string_view unit) {
  const bool is_session = unit.starts_with("session-") && unit.ends_with(".scope");
  return unit.starts_with("user@") || unit.starts_with("user-runtime-dir@") ||
         unit.starts_with("run-user-") || is_session;
}

// "getty@.service" of "getty@tty1.service"; empty where it is no instance.
std::string template_of(const std::string& unit) {
  const size_t at = unit.find('@');
  const size_t dot = unit.rfind('.');
  return at == std::string::npos || dot == std::string::npos || dot < at
             ? ""
             : unit.substr(0, at + 1) + unit.substr(dot);
}

std::string file_of(const std::string& folder, const std::string& unit) {
  for (const std::string& name : {unit, template_of(unit)}) {
    if (name.empty() || folder.empty() || name.find('/') != std::string::npos) continue;
    std::error_code error;
    const fs::path file = fs::canonical(folder + "/" + name, error);
    if (!error) return file.string();
  }
  return "";
}

// A masked unit's file is /dev/null.
bool has_unit_file(const std::string& unit) {
  for (const char* folder : kUnitFolders)
    if (const std::string file = file_of(folder, unit); !file.empty()) return file != "/dev/null";
  return false;
}

std::string value_of(const UnitProperties& unit, const char* property) {
  const auto it = unit.find(property);
  return it == unit.end() ? "" : it->second;
}

bool is_active(const std::string& state) {
  return state == "active" || state == "reloading" || state == "refreshing";
}

Result<std::vector<ListedUnit>> list_units() {
  ASSIGN_OR_RETURN(const auto text, run_tool_checked({"systemctl", "list-units", "--all", "--plain",
                                                      "--no-legend", "--no-pager", "--full"},
                                                     kSystemctlTimeout));
  return parse_unit_list(text);
}

bool has_failed(const ListedUnit& unit) {
  if (is_a_users(unit.name)) return false;
  if (unit.active == "failed") return true;
  if (unit.state != "auto-restart") return false;
  const auto result =
      run_tool({"systemctl", "show", "--property=Result", "--value", "--", unit.name}, kSystemctlTimeout);
  return !result || result->standard_output != "success\n";
}

std::vector<std::string> failed_of(const std::vector<ListedUnit>& units) {
  std::vector<std::string> out;
  for (const auto& unit : units)
    if (has_failed(unit)) out.push_back(unit.name);
  std::sort(out.begin(), out.end());
  return out;
}

// systemd says that it ended well, and that no job stopped it. Who can't be read has not said so.
bool ended_well(const std::string& unit, long long since_unix_ms) {
  const auto result =
      run_tool({"systemctl", "show", "--property=Result", "--value", "--", unit}, kSystemctlTimeout);
  if (!result || result->standard_output != "success\n") return false;
  const auto ended = ended_by_itself(unit, since_unix_ms);
  return ended && *ended;
}

// A task that was done once (ldconfig.service at the first boot) and whose conditions have since said no.
bool has_nothing_to_do(const std::string& unit) {
  auto properties = unit_properties(unit, {"Type", "ConditionResult", "ConditionTimestampMonotonic"});
  return properties && (*properties)["Type"] == "oneshot" && (*properties)["ConditionResult"] == "no" &&
         (*properties)["ConditionTimestampMonotonic"] != "0";
}

MissingUnit missing(const SteadyUnit& recorded, const ListedUnit* now, long long since_unix_ms) {
  using State = MissingUnit::State;
  MissingUnit out{recorded.name, State::kInactive, false, recorded.may_end};
  const bool is_masked = now && now->load == "masked";
  if (now && now->active == "failed") {
    out.state = State::kFailed;
  } else if (now && (now->active == "activating" || now->active == "deactivating")) {
    out.state = State::kStarting;
  } else if (is_masked || !has_unit_file(recorded.name)) {
    out.state = State::kRemoved;
  } else {
    out.ended_by_itself =
        has_nothing_to_do(recorded.name) || (recorded.may_end && ended_well(recorded.name, since_unix_ms));
  }
  return out;
}

bool is_wanted(const UnitProperties& unit) {
  return std::any_of(kWantedBy.begin(), kWantedBy.end(),
                     [&](const char* property) { return !value_of(unit, property).empty(); });
}

}  // namespace

std::vector<SteadyUnit> steady_units_of(std::string_view shown) {
  std::vector<SteadyUnit> out;
  for (const auto& unit : parse_unit_properties(shown)) {
    const std::string name = value_of(unit, "Id");
    const bool is_kind = std::any_of(kKinds.begin(), kKinds.end(),
                                     [&](std::string_view kind) { return name.ends_with(kind); });
    const std::string file = value_of(unit, "FragmentPath");
    const bool is_plain_oneshot =
        value_of(unit, "Type") == "oneshot" && value_of(unit, "RemainAfterExit") == "no";
    const bool comes_and_goes = is_a_users(name) || is_own_unit(name) || is_plain_oneshot ||
                                !value_of(unit, "TriggeredBy").empty() ||
                                value_of(unit, "StopWhenUnneeded") == "yes" || file.empty() ||
                                file.starts_with("/run/systemd/transient/");
    if (!is_kind || comes_and_goes || !is_active(value_of(unit, "ActiveState"))) continue;
    out.push_back({name, !value_of(unit, "BusName").empty() || !is_wanted(unit)});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return out;
}

bool is_unit_changed(const std::string& unit, const std::string& old_units, const std::string& new_units) {
  return file_of(old_units, unit) != file_of(new_units, unit);
}

Result<std::vector<std::string>> read_failed_units() {
  ASSIGN_OR_RETURN(const auto units, list_units());
  return failed_of(units);
}

Result<std::set<std::string>> read_active_units() {
  ASSIGN_OR_RETURN(const auto units, list_units());
  std::set<std::string> out;
  for (const auto& unit : units)
    if (is_active(unit.active)) out.insert(unit.name);
  return out;
}

Result<void> read_units(const UnitQuestion& question, SystemState& out) {
  ASSIGN_OR_RETURN(const auto units, list_units());
  out.failed_units = failed_of(units);
  std::map<std::string, const ListedUnit*> by_name;
  for (const auto& unit : units) by_name.emplace(unit.name, &unit);
  const auto find = [&](const std::string& name) {
    const auto it = by_name.find(name);
    return it == by_name.end() ? nullptr : it->second;
  };
  for (const auto& recorded : question.recorded) {
    const ListedUnit* now = find(recorded.name);
    if (!now || !is_active(now->active))
      out.missing_units.push_back(missing(recorded, now, question.recorded_unix_ms));
  }
  for (const auto& name : question.units) {
    const ListedUnit* now = find(name);
    out.unit_states.emplace(name, now ? now->active : "inactive");
  }
  ASSIGN_OR_RETURN(const auto jobs, run_tool_checked({"systemctl", "list-jobs", "--plain", "--no-legend",
                                                      "--no-pager", "--full"},
                                                     kSystemctlTimeout));
  for (auto& job : parse_job_list(jobs))
    if (out.jobs.size() < kJobsMax)
      out.jobs.push_back(
          {job.unit, job.type, is_unit_changed(job.unit, question.old_units, question.new_units)});
  if (!question.is_baseline) return {};
  ASSIGN_OR_RETURN(const auto shown,
                   run_tool_checked({"systemctl", "show", "--no-pager",
                                     "--property=Id,ActiveState,Type,RemainAfterExit,TriggeredBy,BusName,"
                                     "FragmentPath,StopWhenUnneeded,WantedBy,RequiredBy,UpheldBy,BoundBy,"
                                     "RequisiteOf,ConsistsOf",
                                     "--", "*"},
                                    kSystemctlTimeout));
  out.steady_units = steady_units_of(shown);
  return {};
}

}  // namespace flurry::agent
