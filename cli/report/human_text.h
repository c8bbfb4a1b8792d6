#pragma once

#include <string>
#include <string_view>

#include "cli/report/summary.h"
#include "cli/reporter.h"

namespace flurry {

// What `hosts`, `eval`, `check` and `status` print for a person; whole lines, safe for a terminal.
std::string listing_text(const HostListing& listing);
std::string evaluation_text(const EvaluationReport& report, const Palette& palette);
std::string plan_text(const std::string& host, const CopyPlan& plan);
std::string check_text(const CheckReport& report, const Palette& palette);
// One headline for the host and, below it, only what somebody wants to know.
std::string status_text(const StatusReport& report, long long now_unix_ms, const Palette& palette);

// "in-sync", "drifted" or "unknown".
std::string_view drift_of(const StatusReport& report);

}  // namespace flurry
