#pragma once

#include <map>
#include <string>

#include "cli/report/sink.h"
#include "cli/report/summary.h"
#include "cli/reporter.h"

namespace flurry {

// Lines "host | …" for a log file: progress to `err` as it happens, results to `out`.
class PlainReporter : public Reporter {
 public:
  PlainReporter(ReportOutput output, ReportClock clock, int verbosity);

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
  void say(const std::string& host, const std::string& text);

  const ReportOutput output_;
  const ReportClock clock_;
  const int verbosity_;
  RunMemory memory_;
  std::map<std::string, TimePoint> copy_said_;
};

}  // namespace flurry
