#include "cli/report/summary.h"

#include <algorithm>
#include <array>

#include "cli/report/text.h"

namespace flurry {
namespace {

constexpr size_t kLastLinesMax = 20;
constexpr size_t kDryRunLinesMax = 200;

// Worst first.
constexpr std::array kOrder{Outcome::kRollbackFailed, Outcome::kSuperseded,      Outcome::kUnknown,
                            Outcome::kRolledBack,     Outcome::kFailedUnchanged, Outcome::kSkipped,
                            Outcome::kStaged,         Outcome::kSucceeded,       Outcome::kUnchanged};

std::string in_words(Outcome outcome, bool is_one) {
  switch (outcome) {
    case Outcome::kUnchanged:
      return "unchanged";
    case Outcome::kSucceeded:
      return "succeeded";
    case Outcome::kStaged:
      return "staged";
    case Outcome::kFailedUnchanged:
      return "failed with nothing switched";
    case Outcome::kRolledBack:
      return "rolled back";
    case Outcome::kRollbackFailed:
      return "failed to roll back";
    case Outcome::kSuperseded:
      return is_one ? "was switched by somebody else" : "were switched by somebody else";
    case Outcome::kUnknown:
      return is_one ? "is in an unknown state" : "are in an unknown state";
    case Outcome::kSkipped:
      return is_one ? "was skipped" : "were skipped";
  }
  return "?";
}

std::string hosts_counted(size_t count) { return std::to_string(count) + (count == 1 ? " host" : " hosts"); }

// Why it ended so; of a success without a health check, how little speaks for it.
std::string remark(const HostResult& result) {
  const std::string reason = clean_line(result.reason);
  if (!result.proof || result.proof->checks > 0) return reason;
  return "health: " + to_string(*result.proof) + (reason.empty() ? "" : "; " + reason);
}

}  // namespace

std::string Palette::mark(const char* code, const std::string& text) const {
  return color_ ? std::string("\x1b[") + code + "m" + text + "\x1b[0m" : text;
}

std::string Palette::by_outcome(Outcome outcome, const std::string& text) const {
  if (is_good(outcome)) return green(text);
  return outcome == Outcome::kSkipped || outcome == Outcome::kFailedUnchanged ? yellow(text) : red(text);
}

bool is_good(Outcome outcome) {
  return outcome == Outcome::kUnchanged || outcome == Outcome::kSucceeded || outcome == Outcome::kStaged;
}

std::string describe(const HostResult& result) {
  std::string out(to_string(result.outcome));
  const bool has_place = !is_good(result.outcome) && result.stage != Stage::kEnded;
  return has_place ? out + " in " + std::string(to_string(result.stage)) : out;
}

std::string count_outcomes(const std::vector<HostResult>& results, int exit_code) {
  std::string out = exit_code == 130 ? "stopped by the user: " : "";
  if (results.empty()) return out + "no hosts";
  std::vector<std::pair<Outcome, size_t>> counts;
  for (const Outcome outcome : kOrder)
    if (const auto count = std::ranges::count(results, outcome, &HostResult::outcome))
      counts.emplace_back(outcome, count);
  if (counts.size() == 1) {
    out += (results.size() > 1 ? "all " : "") + hosts_counted(results.size()) + " " +
           in_words(counts[0].first, results.size() == 1);
  } else {
    for (size_t i = 0; i < counts.size(); ++i) {
      const auto& [outcome, count] = counts[i];
      out += (i ? "; " : "") + std::to_string(count) + (i ? "" : " of " + hosts_counted(results.size())) +
             " " + in_words(outcome, count == 1);
    }
  }
  if (exit_code == 5) out += "; see 'flurry status', someone should look";
  return out;
}

std::string describe_start(const DeploymentInfo& info) {
  const std::string what =
      info.only_plan ? "planning for " : "deploying (" + std::string(to_string(info.goal)) + ") ";
  std::string out = what + hosts_counted(info.hosts.size()) + " from " + clean_line(info.flake);
  if (!info.revision.empty()) {
    const bool is_dirty = info.revision.ends_with("-dirty");
    out += " at " + clean_line(info.revision.substr(0, 7)) + (is_dirty ? "-dirty" : "");
  }
  return out + ", deployment " + clean_line(info.deployment);
}

bool is_shown(Stage stage, int verbosity) {
  if (verbosity > 0) return true;
  return stage != Stage::kEvaluate && stage != Stage::kBuild && stage != Stage::kActivate &&
         stage != Stage::kRollBack;
}

std::string describe_copy(const CopyState& state) {
  std::string out = format_bytes(state.bytes_sent) + " of " + format_bytes(state.bytes_total);
  if (state.bytes_total > 0) {
    const double share = static_cast<double>(state.bytes_sent) / static_cast<double>(state.bytes_total);
    out += " (" + std::to_string(static_cast<int>(std::min(share, 1.0) * 100)) + " %)";
  }
  return out;
}

std::string describe_saved(uint64_t content, uint64_t wire) {
  if (content <= wire) return {};
  const double left = static_cast<double>(wire) / static_cast<double>(content);
  return std::to_string(static_cast<int>((1 - left) * 100)) + " % saved";
}

std::string describe_copied(const CopyAccount& account) {
  std::string out =
      std::to_string(account.copied_paths) + (account.copied_paths == 1 ? " path, " : " paths, ") +
      format_bytes(account.copied_bytes) + ", as " + format_bytes(account.wire_bytes) + " on the wire";
  const std::string saved = describe_saved(account.copied_bytes, account.wire_bytes);
  if (!saved.empty()) out += " (" + saved + ")";
  if (account.delta_paths > 0) out += ", " + std::to_string(account.delta_paths) + " of them as deltas";
  if (account.substituted_paths > 0)
    out += "; " + std::to_string(account.substituted_paths) + " (" + format_bytes(account.substituted_bytes) +
           ") fetched by the host";
  const uint64_t brought = account.copied_paths + account.substituted_paths;
  const uint64_t there = account.closure_paths - std::min(account.closure_paths, brought);
  if (there > 0) out += "; " + std::to_string(there) + (there == 1 ? " was there" : " were there");
  return out;
}

void RunMemory::copied(const CopyAccount& account) {
  copied_.closure_paths += account.closure_paths;
  copied_.closure_bytes += account.closure_bytes;
  copied_.copied_paths += account.copied_paths;
  copied_.copied_bytes += account.copied_bytes;
  copied_.delta_paths += account.delta_paths;
  copied_.delta_bytes += account.delta_bytes;
  copied_.substituted_paths += account.substituted_paths;
  copied_.substituted_bytes += account.substituted_bytes;
  copied_.wire_bytes += account.wire_bytes;
}

void RunMemory::start(const DeploymentInfo& info) {
  goal_ = info.goal;
  hosts_ = info.hosts;
  elapsed_.clear();
  copied_ = {};
  last_lines_.clear();
}

void RunMemory::log(const std::string& host, std::string_view line) {
  auto& lines = last_lines_[host];
  lines.push_back(clean_line(line));
  if (lines.size() > kLastLinesMax) lines.pop_front();
}

void RunMemory::end(const std::string& host, const HostResult& result, Millis elapsed) {
  elapsed_[host] = elapsed;
  // Of a fleet of thousands nothing is kept that no one will read.
  if (is_good(result.outcome)) last_lines_.erase(host);
}

std::vector<std::string> RunMemory::explaining_lines(const std::string& host,
                                                     const HostResult& result) const {
  if (is_good(result.outcome) && goal_ == Goal::kDryActivate) {
    auto would = clean_lines(result.output, kDryRunLinesMax);
    if (would.empty()) would.emplace_back("the dry run names nothing that would be touched");
    return would;
  }
  if (is_good(result.outcome)) return {};
  std::vector<std::string> lines = clean_lines(result.reason);
  std::vector<std::string> output = clean_lines(result.output, kLastLinesMax);
  const auto remembered = last_lines_.find(host);
  if (output.empty() && remembered != last_lines_.end())
    output.assign(remembered->second.begin(), remembered->second.end());
  for (auto& line : output) lines.push_back("> " + std::move(line));
  return lines;
}

std::string RunMemory::summary(const std::vector<HostResult>& results, int exit_code, Millis elapsed,
                               const Palette& palette) const {
  size_t name_width = 0;
  size_t outcome_width = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    if (i < hosts_.size()) name_width = std::max(name_width, columns_of(clean_line(hosts_[i])));
    outcome_width = std::max(outcome_width, describe(results[i]).size());
  }
  std::string out = "\n";
  for (size_t i = 0; i < results.size(); ++i) {
    const std::string host = i < hosts_.size() ? hosts_[i] : "?";
    const auto took = elapsed_.find(host);
    std::string line = pad(clean_line(host), name_width) + "  " +
                       palette.by_outcome(results[i].outcome, pad(describe(results[i]), outcome_width)) +
                       "  ";
    const std::string reason = remark(results[i]);
    const std::string time = took == elapsed_.end() ? "" : format_duration(took->second);
    out += line + (reason.empty() ? time : pad(time, 6) + "  " + reason) + "\n";
  }
  out += "\n";
  if (copied_.copied_paths + copied_.substituted_paths > 0)
    out += "copied " + describe_copied(copied_) + "\n";
  const std::string last = count_outcomes(results, exit_code) + " (" + format_duration(elapsed) + ")";
  return out +
         (exit_code == 0   ? palette.green(last)
          : exit_code == 6 ? palette.yellow(last)
                           : palette.red(last)) +
         "\n";
}

}  // namespace flurry
