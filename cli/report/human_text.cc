#include "cli/report/human_text.h"

#include <algorithm>

#include "cli/report/text.h"
#include "core/profile.h"

namespace flurry {
namespace {

constexpr size_t kNameColumn = 20;
constexpr size_t kHashShown = 7;
constexpr size_t kUnitsShown = 8;

std::string joined(const std::vector<std::string>& parts, size_t shown_max) {
  std::string out;
  for (size_t i = 0; i < parts.size() && i < shown_max; ++i)
    out += (i ? ", " : "") + clean_line(parts[i], 200);
  if (parts.size() > shown_max) out += " and " + std::to_string(parts.size() - shown_max) + " more";
  return out;
}

// "nixos-system-web-01-24.11 (1b9k3…)"; what is no store path as it is.
std::string path_text(const std::string& path) {
  const auto parsed = StorePath::parse(path);
  if (!parsed) return path.empty() ? "not known" : clean_line(path);
  return std::string(parsed->name()) + " (" + std::string(parsed->hash_part().substr(0, kHashShown)) + ")";
}

std::string row(const char* label, const std::string& value) { return "  " + pad(label, 12) + value + "\n"; }

std::string age(long long now_unix_ms, long long then_unix_ms) {
  if (then_unix_ms <= 0) return "";
  const long long ago = now_unix_ms - then_unix_ms;
  return ago < 0 ? ", in the future" : ", " + format_duration(Millis(ago)) + " ago";
}

std::string deployment_text(const PastDeployment& past, long long now, const Palette& palette) {
  const long long when = past.ended_unix_ms > 0 ? past.ended_unix_ms : past.started_unix_ms;
  std::string state = clean_line(past.outcome.empty() ? past.phase : past.outcome);
  if (const auto outcome = parse_outcome(past.outcome)) state = palette.by_outcome(*outcome, state);
  std::string out = state + ", " + format_time(when) + age(now, when);
  if (!past.goal.empty()) out += ", " + clean_line(past.goal);
  if (!past.who.empty()) out += ", by " + clean_line(past.who);
  if (!past.revision.empty()) {
    out += ", revision " + clean_line(past.revision.substr(0, 7));
    if (past.revision.ends_with("-dirty")) out += "-dirty";
  }
  return out;
}

std::string headline(const StatusReport& report, const Palette& palette) {
  const std::string_view drift = drift_of(report);
  std::string out = drift == "in-sync" ? palette.green("in sync")
                    : drift == "drifted"
                        ? palette.yellow("drifted")
                        : palette.dim(report.desired.empty() ? "not evaluated" : "drift unknown");
  if (!report.system_running.empty()) {
    const std::string state = clean_line(report.system_running);
    out += ", " + (state == "running" ? state : palette.red(state));
  }
  if (report.reboot_needed) out += ", " + palette.yellow("reboot needed");
  if (report.active) out += ", " + palette.yellow("deployment under way");
  return out;
}

}  // namespace

std::string_view drift_of(const StatusReport& report) {
  for (const auto& [name, path] : report.desired_profiles) {
    const auto state = report.state.user_profiles.find(name);
    const bool is_set = state != report.state.user_profiles.end() && state->second.path;
    if (!is_set || state->second.path->str() != path || !state->second.is_activated) return "drifted";
  }
  if (report.desired.empty() && !report.desired_profiles.empty()) return "in-sync";
  if (report.desired.empty() || !report.state.running) return "unknown";
  // A system that runs and would not survive a reboot is not what the flake says either.
  const bool runs = report.state.running->str() == report.desired || report.state.running == report.wrapped;
  const bool stays = report.state.profile && report.state.profile->str() == report.desired;
  const auto& boots = report.state.boot_default;
  const bool comes_back = !boots || boots->str() == report.desired || boots == report.wrapped;
  return runs && stays && comes_back ? "in-sync" : "drifted";
}

std::string listing_text(const HostListing& listing) {
  std::string addresses;
  for (const auto& address : listing.addresses) {
    addresses += addresses.empty() ? "" : ", ";
    if (!listing.user.empty()) addresses += clean_line(listing.user) + "@";
    addresses += clean_line(address);
    if (listing.port) addresses += " port " + std::to_string(*listing.port);
  }
  if (addresses.empty()) addresses = "(no SSH)";
  std::string out = pad(clean_line(listing.host), kNameColumn) + "  " + addresses;
  for (size_t i = 0; i < listing.tags.size(); ++i) out += (i ? " @" : "  @") + clean_line(listing.tags[i]);
  std::string profiles;
  for (const auto& profile : listing.profiles) {
    const bool is_system = profile.is_system();
    profiles += (profiles.empty() ? "" : ", ") + clean_line(profile.name) +
                (is_system ? "" : " of " + clean_line(profile.user));
  }
  // A system alone is what nearly every host has.
  if (listing.profiles.size() > 1 || (!listing.profiles.empty() && !listing.profiles[0].is_system()))
    out += "  profiles " + profiles;
  for (size_t i = 0; i < listing.checks.size(); ++i)
    out += (i ? ", " : "  checks ") + clean_line(listing.checks[i]);
  for (size_t i = 0; i < listing.requires_hosts.size(); ++i)
    out += (i ? ", " : "  requires ") + clean_line(listing.requires_hosts[i]);
  return out + "\n";
}

std::string evaluation_text(const EvaluationReport& report, const Palette& palette) {
  std::string out;
  for (const auto& profile : report.profiles) {
    const bool is_system = profile.name == kSystemProfile;
    out += pad(clean_line(report.host), kNameColumn) + "  " + clean_line(profile.drv) +
           (is_system ? "" : "  profile " + clean_line(profile.name)) + "\n";
  }
  const std::string prefix = clean_line(report.host) + " | ";
  for (const auto& line : clean_lines(report.error)) out += prefix + palette.red(line) + "\n";
  return out;
}

std::string plan_text(const std::string& host, const CopyPlan& plan) {
  const std::string name = clean_line(host) + " | ";
  if (plan.builds_there) return name + "would build for itself; what it lacks then isn't known\n";
  if (plan.missing_paths == 0) return name + "has all that it needs, nothing would be copied\n";
  const auto paths = [](uint64_t count) {
    return std::to_string(count) + (count == 1 ? " path, " : " paths, ");
  };
  std::string out = name + "lacks " + paths(plan.missing_paths) + format_bytes(plan.missing_bytes);
  if (plan.substituted_paths > 0)
    out +=
        "; would fetch " + paths(plan.substituted_paths) + format_bytes(plan.substituted_bytes) + " itself";
  if (plan.substituted_paths < plan.missing_paths)
    out += "; sending " + std::string(plan.substituted_paths > 0 ? "the rest" : "that") + " takes about " +
           format_bytes(plan.wire_bytes) + " on the wire";
  const uint64_t there = plan.closure_paths - std::min(plan.closure_paths, plan.missing_paths);
  if (there > 0) out += "; " + std::to_string(there) + (there == 1 ? " is there" : " are there");
  return out + "\n";
}

std::string check_text(const CheckReport& report, const Palette& palette) {
  const std::string word = report.passed     ? palette.green("passed")
                           : report.required ? palette.red("FAILED")
                                             : palette.yellow("failed (only wanted)");
  std::string out = clean_line(report.host) + " | " + clean_line(report.check) + ": " + word;
  if (!report.message.empty()) out += ": " + clean_line(report.message);
  return out + "\n";
}

std::string status_text(const StatusReport& report, long long now, const Palette& palette) {
  std::string out = palette.bold(clean_line(report.host)) + ": ";
  if (!report.error.empty())
    return out + palette.red("not reachable") + "\n" + row("error", clean_line(report.error));
  out += headline(report, palette) + "\n";

  const SystemState& state = report.state;
  const std::string running = state.running ? state.running->str() : "";
  const std::string profile = state.profile ? state.profile->str() : "";
  std::string generation = state.generation ? ", generation " + std::to_string(*state.generation) : "";
  if (profile == running) {
    out += row("running", path_text(running) + generation);
  } else {
    out += row("running", path_text(running)) + row("profile", path_text(profile) + generation);
  }
  if (report.booted != running) out += row("booted", path_text(report.booted));
  if (!report.desired_error.empty())
    out += row("desired", "not evaluated: " + clean_line(report.desired_error));
  else if (!report.desired.empty() && drift_of(report) != "in-sync")
    out += row("desired", path_text(report.desired));
  for (const auto& [name, held] : state.user_profiles) {
    const std::string number = held.generation ? ", generation " + std::to_string(*held.generation) : "";
    out += row("profile", clean_line(name) + ": " + path_text(held.path ? held.path->str() : "") + number);
    if (!held.is_activated)
      out += row("", palette.yellow(clean_line(name) +
                                    ": set, but its activation has not ended well; deploy again"));
    const auto wanted = report.desired_profiles.find(name);
    if (wanted != report.desired_profiles.end() && (!held.path || held.path->str() != wanted->second))
      out += row("desired", clean_line(name) + ": " + path_text(wanted->second));
  }
  if (!state.failed_units.empty()) out += row("failed", palette.red(joined(state.failed_units, kUnitsShown)));
  if (report.active) out += row("active", deployment_text(*report.active, now, palette));
  if (report.last) {
    out += row("last", deployment_text(*report.last, now, palette));
    if (!report.last->reason.empty()) out += row("", clean_line(report.last->reason));
  } else {
    out += row("last", "no deployment by flurry yet");
  }
  for (const auto& note : report.notes) out += row("note", palette.yellow(clean_line(note)));
  if (!report.agent_version.empty()) out += row("agent", clean_line(report.agent_version));
  return out;
}

}  // namespace flurry
