#pragma once

#include <functional>
#include <string>

#include "cli/report/live_area.h"
#include "cli/report/sink.h"
#include "cli/report/summary.h"
#include "cli/reporter.h"

namespace flurry {

// A live line for each host on the terminal `err`, redrawn in place at most ten times a second; notes and
// failures are printed above. The cursor is hidden while the lines are there, and comes back at the
// latest in the destructor.
class TtyReporter : public Reporter {
 public:
  using SizeFunction = std::function<TerminalSize()>;

  // `out_is_terminal`: results appear on the same screen, so the live lines make room for them.
  TtyReporter(ReportOutput output, ReportClock clock, SizeFunction size, int verbosity, bool out_is_terminal);
  ~TtyReporter() override;

  TtyReporter(const TtyReporter&) = delete;
  TtyReporter& operator=(const TtyReporter&) = delete;

  void started(const DeploymentInfo& info) override;
  void stage(const std::string& host, Stage stage) override;
  void log(const std::string& host, Stage stage, std::string_view line) override;
  void copying(const std::string& host, const CopyState& state) override;
  void planned(const std::string& host, const CopyPlan& plan) override;
  void copied(const std::string& host, const CopyAccount& account) override;
  void ended(const std::string& host, const HostResult& result, Millis elapsed) override;
  void finished(const std::vector<HostResult>& results, int exit_code, Millis elapsed) override;
  void listed(const HostListing& listing) override;
  void evaluated(const EvaluationReport& report) override;
  void status(const StatusReport& report) override;
  void checked(const CheckReport& report) override;
  void note(std::string_view text) override;
  void failed(std::string_view message, int exit_code) override;
  void tick(TimePoint now) override;

 private:
  void draw(TimePoint now);
  // Takes the live lines off the screen; a result on the same screen follows.
  std::string erased();
  // Prints whole lines where the live ones were, and those again below.
  void print_above(const std::string& text);
  void stop_live(bool keep_lines);

  const ReportOutput output_;
  const ReportClock clock_;
  const SizeFunction size_;
  const int verbosity_;
  const bool out_is_terminal_;
  const Palette palette_;
  RunMemory memory_;
  LiveArea area_;
  bool is_live_ = false;
  size_t lines_drawn_ = 0;
  size_t columns_drawn_ = 0;
  TimePoint last_draw_{};
};

}  // namespace flurry
