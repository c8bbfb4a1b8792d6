#include "cli/report/plain_reporter.h"

#include "cli/report/human_text.h"
#include "cli/report/text.h"

namespace flurry {
namespace {

// A log wants to know that a copy is alive, not more.
constexpr Millis kCopyInterval{10'000};

}  // namespace

PlainReporter::PlainReporter(ReportOutput output, ReportClock clock, int verbosity)
    : output_(output), clock_(std::move(clock)), verbosity_(verbosity) {}

void PlainReporter::say(const std::string& host, const std::string& text) {
  output_.err.write(clean_line(host) + " | " + text + "\n");
}

void PlainReporter::started(const DeploymentInfo& info) {
  memory_.start(info);
  output_.err.write(describe_start(info) + "\n");
  if (!info.magic_rollback) note(kNoMagicRollback);
}

void PlainReporter::stage(const std::string& host, Stage stage) { say(host, std::string(to_string(stage))); }

void PlainReporter::log(const std::string& host, Stage stage, std::string_view line) {
  memory_.log(host, line);
  if (is_shown(stage, verbosity_)) say(host, std::string(to_string(stage)) + ": " + clean_line(line));
}

void PlainReporter::copying(const std::string& host, const CopyState& state) {
  const TimePoint now = clock_.now();
  const auto [said, is_first] = copy_said_.emplace(host, now);
  if (is_first || now - said->second < kCopyInterval) return;
  said->second = now;
  say(host, "copy: " + describe_copy(state) + ", " + format_bytes(state.wire_bytes) + " on the wire");
}

void PlainReporter::planned(const std::string& host, const CopyPlan& plan) {
  output_.out.write(plan_text(host, plan));
}

void PlainReporter::copied(const std::string& host, const CopyAccount& account) {
  memory_.copied(account);
  if (account.copied_paths + account.substituted_paths > 0) say(host, "copied " + describe_copied(account));
}

void PlainReporter::ended(const std::string& host, const HostResult& result, Millis elapsed) {
  const Palette palette(output_.err_color);
  say(host, palette.by_outcome(result.outcome, describe(result)) + " after " + format_duration(elapsed));
  for (const auto& line : memory_.explaining_lines(host, result)) say(host, "    " + line);
  memory_.end(host, result, elapsed);
  copy_said_.erase(host);
}

void PlainReporter::finished(const std::vector<HostResult>& results, int exit_code, Millis elapsed) {
  output_.out.write(memory_.summary(results, exit_code, elapsed, Palette(output_.out_color)));
}

void PlainReporter::listed(const HostListing& listing) {
  if (listing.error.empty()) return output_.out.write(listing_text(listing));
  evaluated({.host = listing.host, .error = listing.error, .profiles = {}});
}

void PlainReporter::evaluated(const EvaluationReport& report) {
  const bool failed = !report.error.empty();
  (failed ? output_.err : output_.out)
      .write(evaluation_text(report, Palette(failed ? output_.err_color : output_.out_color)));
}

void PlainReporter::status(const StatusReport& report) {
  output_.out.write(status_text(report, clock_.unix_ms(), Palette(output_.out_color)));
}

void PlainReporter::checked(const CheckReport& report) {
  output_.out.write(check_text(report, Palette(output_.out_color)));
}

void PlainReporter::note(std::string_view text) {
  for (const auto& line : clean_lines(text)) output_.err.write("flurry: " + line + "\n");
}

void PlainReporter::failed(std::string_view message, int) {
  const auto lines = clean_lines(message);
  std::string out = Palette(output_.err_color).red("flurry: error:");
  for (size_t i = 0; i < lines.size(); ++i) out += (i ? "  " : " ") + lines[i] + "\n";
  output_.err.write(lines.empty() ? out + "\n" : out);
}

void PlainReporter::tick(TimePoint) {}

}  // namespace flurry
