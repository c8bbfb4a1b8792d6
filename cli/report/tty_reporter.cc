#include "cli/report/tty_reporter.h"

#include <algorithm>

#include "cli/report/human_text.h"
#include "cli/report/text.h"

namespace flurry {
namespace {

constexpr Millis kDrawInterval{100};
constexpr const char* kHideCursor = "\x1b[?25l";
constexpr const char* kShowCursor = "\x1b[?25h";
constexpr const char* kClearLine = "\x1b[K";
constexpr const char* kClearBelow = "\x1b[J";

}  // namespace

TtyReporter::TtyReporter(ReportOutput output, ReportClock clock, SizeFunction size, int verbosity,
                         bool out_is_terminal)
    : output_(output),
      clock_(std::move(clock)),
      size_(std::move(size)),
      verbosity_(verbosity),
      out_is_terminal_(out_is_terminal),
      palette_(output.err_color) {}

TtyReporter::~TtyReporter() { stop_live(true); }

std::string TtyReporter::erased() {
  if (lines_drawn_ == 0) return {};
  std::string out = "\r";
  // Never further up than the screen is high: it may have shrunk since, and the rest has scrolled away.
  const size_t rows = std::max<size_t>(size_().rows, 1);
  const size_t up = std::min(lines_drawn_, rows - 1);
  if (up > 0) out += "\x1b[" + std::to_string(up) + "A";
  lines_drawn_ = 0;
  return out + kClearBelow;
}

void TtyReporter::draw(TimePoint now) {
  if (!is_live_) return;
  const TerminalSize size = size_();
  const auto lines = area_.lines(now, size, palette_);
  std::string out;
  // Lines of another width may have been wrapped anew; then, and when there are fewer, all is redrawn.
  if (size.columns != columns_drawn_ || lines.size() < lines_drawn_)
    out = erased();
  else if (lines_drawn_ > 0)
    out = "\r\x1b[" + std::to_string(lines_drawn_) + "A";
  for (const auto& line : lines) out += line + kClearLine + "\n";
  lines_drawn_ = lines.size();
  columns_drawn_ = size.columns;
  last_draw_ = now;
  output_.err.write(out);
}

void TtyReporter::print_above(const std::string& text) {
  output_.err.write(erased() + text);
  draw(clock_.now());
}

void TtyReporter::stop_live(bool keep_lines) {
  if (!is_live_) return;
  if (keep_lines) draw(clock_.now());
  output_.err.write((keep_lines ? "" : erased()) + kShowCursor);
  is_live_ = false;
  lines_drawn_ = 0;
}

void TtyReporter::started(const DeploymentInfo& info) {
  memory_.start(info);
  output_.err.write(palette_.bold(describe_start(info)) + "\n");
  if (!info.magic_rollback) note(kNoMagicRollback);
  area_.start(info.hosts, clock_.now());
  if (area_.is_empty()) return;
  is_live_ = true;
  output_.err.write(kHideCursor);
  draw(clock_.now());
}

void TtyReporter::stage(const std::string& host, Stage stage) { area_.set_stage(host, stage, clock_.now()); }

void TtyReporter::log(const std::string& host, Stage stage, std::string_view line) {
  memory_.log(host, line);
  if (!is_shown(stage, verbosity_)) return;
  print_above(clean_line(host) + " | " +
              palette_.dim(std::string(to_string(stage)) + ": " + clean_line(line)) + "\n");
}

void TtyReporter::copying(const std::string& host, const CopyState& state) {
  area_.set_copy(host, state, clock_.now());
}

void TtyReporter::planned(const std::string& host, const CopyPlan& plan) {
  if (out_is_terminal_)
    print_above(plan_text(host, plan));
  else
    output_.out.write(plan_text(host, plan));
}

void TtyReporter::copied(const std::string&, const CopyAccount& account) { memory_.copied(account); }

void TtyReporter::ended(const std::string& host, const HostResult& result, Millis elapsed) {
  area_.end(host, result, elapsed);
  const auto details = memory_.explaining_lines(host, result);
  memory_.end(host, result, elapsed);
  if (details.empty()) return;
  std::string text = clean_line(host) + " | " + palette_.by_outcome(result.outcome, describe(result)) + "\n";
  for (const auto& line : details) text += "    " + line + "\n";
  print_above(text);
}

void TtyReporter::finished(const std::vector<HostResult>& results, int exit_code, Millis elapsed) {
  stop_live(!out_is_terminal_);
  output_.out.write(memory_.summary(results, exit_code, elapsed, Palette(output_.out_color)));
}

void TtyReporter::listed(const HostListing& listing) {
  if (listing.error.empty()) return output_.out.write(listing_text(listing));
  evaluated({.host = listing.host, .error = listing.error, .profiles = {}});
}

void TtyReporter::evaluated(const EvaluationReport& report) {
  const bool failed = !report.error.empty();
  (failed ? output_.err : output_.out)
      .write(evaluation_text(report, Palette(failed ? output_.err_color : output_.out_color)));
}

void TtyReporter::status(const StatusReport& report) {
  output_.out.write(status_text(report, clock_.unix_ms(), Palette(output_.out_color)));
}

void TtyReporter::checked(const CheckReport& report) {
  output_.out.write(check_text(report, Palette(output_.out_color)));
}

void TtyReporter::note(std::string_view text) {
  const bool is_loud = text == kNoMagicRollback || text.find("WARNING: ") != text.npos;
  std::string out;
  for (const auto& line : clean_lines(text))
    out += (is_loud ? palette_.red("flurry: " + line) : "flurry: " + line) + "\n";
  print_above(out);
}

void TtyReporter::failed(std::string_view message, int) {
  stop_live(true);
  const auto lines = clean_lines(message);
  std::string out = palette_.red("flurry: error:");
  for (size_t i = 0; i < lines.size(); ++i) out += (i ? "  " : " ") + lines[i] + "\n";
  output_.err.write(lines.empty() ? out + "\n" : out);
}

void TtyReporter::tick(TimePoint now) {
  if (now - last_draw_ >= kDrawInterval) draw(now);
}

}  // namespace flurry
