// What a switch prints about itself: every name is a unit's or a user's, stands in the text, and is there
// once.
#include "core/switch_report.h"

#include <set>

#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

void check(const std::vector<std::string>& names, std::string_view text) {
  FLURRY_CHECK(names.size() <= 1000);
  FLURRY_CHECK(std::set<std::string>(names.begin(), names.end()).size() == names.size());
  for (const auto& name : names)
    FLURRY_CHECK(!name.empty() && name.find('\n') == std::string::npos &&
                 text.find(name) != std::string_view::npos);
}

}  // namespace

void run_one(std::string_view text) {
  const SwitchReport report = parse_switch_report(text);
  check(report.failed_units, text);
  check(report.failed_users, text);
  check(report.queued_units, text);
  for (const auto& job : report.failed_jobs) check({job.unit}, text);
  FLURRY_CHECK(report.failed_jobs.size() <= 1000);
  FLURRY_CHECK(!report.explains_failure() || !text.empty());
}

}  // namespace flurry::fuzz
