#include "core/switch_verdict.h"

#include <algorithm>
#include <array>

#include "core/names.h"

namespace flurry {
namespace {

// Exit codes of switch-to-configuration (nixpkgs, switch-to-configuration-ng). Any errno is possible too.
constexpr int kOk = 0;
constexpr int kActivationFailed = 2;
constexpr int kUnitsFailed = 4;  // overwrites kActivationFailed
constexpr int kNeedsReboot = 100;

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string joined(const std::vector<std::string>& words, const char* separator = ", ") {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : separator) + word;
  return out;
}

std::string name_of(const std::optional<StorePath>& path) { return path ? path->str() : "unknown"; }

// Nothing that a switch changes first has changed: services are stopped, lists are written, /etc moves, and
// /run/current-system comes last.
bool looks_untouched(const SystemState& before, const SystemState& now,
                     const std::vector<std::string>& queued) {
  return now.running == before.running && now.etc == before.etc && now.leftovers == before.leftovers &&
         lost_units(now, Direction::kBack).empty() && waiting_jobs(before, now, queued).empty();
}

// A job that did not end well, where what became of its unit does not speak for itself.
bool counts(const SwitchReport::Job& job, const SystemState& before, const SystemState& now,
            Direction direction) {
  if (contains(before.failed_units, job.unit)) return false;  // it was broken before, and did not run
  if (job.type != "start" && job.type != "restart") return true;
  const auto it = now.unit_states.find(job.unit);
  const std::string state = it == now.unit_states.end() ? "inactive" : it->second;
  // Failed and starting ones are for the health checks, as the lost ones are.
  return direction == Direction::kForward && state == "inactive";
}

std::vector<std::string> complaints_of_report(const SwitchRun& run, const SystemState& before,
                                              const SystemState& now, Direction direction) {
  std::vector<std::string> out;
  if (run.exit_code != kUnitsFailed) return out;
  if (!run.tells_failed_activation)
    out.push_back("it exited with 4, and this version would not say if the activation script failed too");
  if (!run.report.explains_failure()) out.push_back("it exited with 4 and did not say why");
  for (const auto& job : run.report.failed_jobs)
    if (counts(job, before, now, direction)) out.push_back("failed to " + job.type + " " + job.unit);
  for (const auto& user : run.report.failed_users)
    out.push_back("the activation of user " + user + " failed");
  return out;
}

std::vector<std::string> complaints_of_state(const SystemState& before, const SystemState& now,
                                             const WantedSystem& wanted) {
  std::vector<std::string> out;
  if (wanted.running && now.running != wanted.running)
    out.push_back("the running system is " + name_of(now.running) + ", not " + wanted.running->str());
  // Some systems mount their /etc and have no such link.
  const bool has_link = now.etc || before.etc;
  if (wanted.etc && has_link && now.etc != wanted.etc)
    out.push_back("/etc is not of " + (wanted.running ? wanted.running->str() : "the wanted system"));
  if (!now.leftovers.empty())
    out.push_back("the switch was broken off: it left " + joined(now.leftovers) + " in /run/nixos");
  return out;
}

std::string to_words(MissingUnit::State state) {
  switch (state) {
    case MissingUnit::State::kStarting:
      return "is still starting";
    case MissingUnit::State::kFailed:
      return "has failed";
    case MissingUnit::State::kInactive:
      return "is inactive";
    case MissingUnit::State::kRemoved:
      return "is gone";
  }
  return "?";
}

bool is_lost(const MissingUnit& unit, Direction direction) {
  if (unit.state == MissingUnit::State::kRemoved) return direction == Direction::kBack;
  return unit.state != MissingUnit::State::kInactive || !unit.ended_by_itself;
}

}  // namespace

SwitchVerdict judge_switch(const SwitchRun& run, const SystemState& before, const SystemState& now,
                           const WantedSystem& wanted, Direction direction) {
  using Kind = SwitchVerdict::Kind;
  const std::string exited = !run.stopped.empty() ? run.stopped
                             : run.exit_code
                                 ? "switch-to-configuration exited with " + std::to_string(*run.exit_code)
                                 : std::string("switch-to-configuration was killed or lost");
  // 2 is ENOENT too, of a program that refused at once; without a word of it nobody can tell. Nor where the
  // host mounts its /etc and has no link that would show whose it is.
  const bool is_doubtful =
      run.exit_code && !run.has_output && (run.exit_code == kActivationFailed || !before.etc);
  const bool may_be_untouched =
      run.exit_code != kOk && run.exit_code != kUnitsFailed && !run.report.has_begun && !is_doubtful;
  if (may_be_untouched && looks_untouched(before, now, run.report.queued_units)) {
    if (run.exit_code == kNeedsReboot)
      return {Kind::kUntouched,
              "the new system needs a reboot (its init interface changed); nothing was switched; deploy it "
              "with --goal boot and reboot"};
    const std::string held =
        now.is_switch_locked ? " (somebody else's switch-to-configuration holds its lock)" : "";
    return {Kind::kUntouched, exited + " before it switched anything" + held};
  }

  std::vector<std::string> wrong;
  const bool is_known = run.exit_code == kOk || run.exit_code == kUnitsFailed;
  if (run.exit_code == kActivationFailed ||
      (run.exit_code == kUnitsFailed && run.report.has_activation_failed))
    wrong.push_back("the activation script failed (" + exited + ")");
  else if (!is_known)
    wrong.push_back(exited);
  for (auto& complaint : complaints_of_report(run, before, now, direction))
    wrong.push_back(std::move(complaint));
  for (auto& complaint : complaints_of_state(before, now, wanted)) wrong.push_back(std::move(complaint));
  if (!wrong.empty()) {
    for (auto& unit : lost_units(now, direction)) wrong.push_back(std::move(unit));
    return {Kind::kFailed, joined(wrong, "; ")};
  }
  const auto waiting = waiting_jobs(before, now, run.report.queued_units);
  if (!waiting.empty()) return {Kind::kWaiting, "jobs still wait: " + joined(waiting)};
  return {Kind::kWell, ""};
}

std::vector<std::string> report_units(const SwitchReport& report) {
  std::vector<std::string> out;
  for (const auto& job : report.failed_jobs)
    if (!contains(out, job.unit)) out.push_back(job.unit);
  return out;
}

std::vector<std::string> lost_units(const SystemState& now, Direction direction) {
  std::vector<std::string> out;
  for (const auto& unit : now.missing_units)
    if (is_lost(unit, direction)) out.push_back(unit.name + " (was active, " + to_words(unit.state) + ")");
  return out;
}

std::vector<std::string> startable_units(const SystemState& now) {
  std::vector<std::string> out;
  for (const auto& unit : now.missing_units)
    if (is_lost(unit, Direction::kBack) && unit.state != MissingUnit::State::kRemoved &&
        unit.state != MissingUnit::State::kStarting)
      out.push_back(unit.name);
  return out;
}

std::vector<std::string> waiting_jobs(const SystemState& before, const SystemState& now,
                                      const std::vector<std::string>& queued) {
  std::vector<std::string> out;
  for (const auto& job : now.jobs) {
    const bool was_there = std::any_of(before.jobs.begin(), before.jobs.end(), [&](const UnitJob& old) {
      return old.unit == job.unit && old.type == job.type;
    });
    const bool is_missing = std::any_of(now.missing_units.begin(), now.missing_units.end(),
                                        [&](const MissingUnit& unit) { return unit.name == job.unit; });
    const bool is_ours = job.is_of_changed_unit || is_missing || contains(queued, job.unit);
    if (!was_there && is_ours && !is_own_unit(job.unit)) out.push_back(job.type + " of " + job.unit);
  }
  return out;
}

std::vector<std::string> unwell_units(const SystemState& before, const SystemState& now, FailedUnits policy) {
  std::vector<std::string> out;
  if (policy != FailedUnits::kIgnore)
    out = newly_failed(now.failed_units,
                       policy == FailedUnits::kAny ? std::vector<std::string>() : before.failed_units);
  for (const auto& unit : now.missing_units) {
    const bool is_told = contains(now.failed_units, unit.name);
    const bool is_ignored = policy == FailedUnits::kIgnore && unit.state == MissingUnit::State::kFailed;
    if (is_lost(unit, Direction::kForward) && !is_told && !is_ignored)
      out.push_back(unit.name + " (was active, " + to_words(unit.state) + ")");
  }
  return out;
}

std::vector<std::string> newly_failed(const std::vector<std::string>& failed,
                                      const std::vector<std::string>& baseline) {
  std::vector<std::string> out;
  for (const auto& unit : failed)
    if (!contains(baseline, unit) && !is_own_unit(unit)) out.push_back(unit);
  return out;
}

// "flurry-switch-01ARYZ6S41TSV4RRFFQ69G5FAV.service", "flurry-restore-01…-2-1.service"
bool is_own_unit(const std::string& unit) {
  constexpr std::string_view kPrefix = "flurry-";
  constexpr size_t kIdLength = 26;
  constexpr std::array<std::string_view, 9> kPurposes{"switch",  "boot",    "unboot", "rollback", "activate",
                                                      "restore", "deadman", "check",  "start"};
  if (unit == "flurry-agent.service") return true;
  if (!unit.starts_with(kPrefix) || !unit.ends_with(".service")) return false;
  const std::string_view rest(std::string_view(unit).substr(kPrefix.size()));
  const size_t dash = rest.find('-');
  if (dash == std::string_view::npos || rest.size() < dash + 1 + kIdLength) return false;
  const std::string_view purpose = rest.substr(0, dash);
  if (std::find(kPurposes.begin(), kPurposes.end(), purpose) == kPurposes.end()) return false;
  const std::string_view after = rest.substr(dash + 1 + kIdLength);
  return DeploymentId::parse(std::string(rest.substr(dash + 1, kIdLength))).has_value() &&
         after.find_first_not_of("-0123456789") == after.find(".service");
}

std::string half_switched(const SystemState& state, const std::optional<std::string>& etc_of_running) {
  if (state.etc && etc_of_running && state.etc != etc_of_running)
    return "a switch was broken off: /etc is not of the system that runs";
  if (!state.leftovers.empty())
    return "a switch was broken off: it left " + joined(state.leftovers) + " in /run/nixos";
  return "";
}

}  // namespace flurry
