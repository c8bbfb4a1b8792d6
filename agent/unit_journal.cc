#include "agent/unit_journal.h"

#include "agent/tools.h"
#include "agent/unit_list.h"

namespace flurry::agent {
namespace {

constexpr Millis kJournalctlTimeout{10'000};

// "Deactivated successfully", by systemd's catalog of messages.
constexpr const char* kUnitSuccess = "7ad2d189f7e94e70a38c781354912448";

std::string value_of(const UnitProperties& entry, const char* field) {
  const auto it = entry.find(field);
  return it == entry.end() ? "" : it->second;
}

}  // namespace

bool tells_end_by_itself(std::string_view exported) {
  const auto entries = parse_unit_properties(exported);
  if (entries.empty() || value_of(entries.back(), "MESSAGE_ID") != kUnitSuccess ||
      !value_of(entries.back(), "JOB_TYPE").empty())
    return false;
  if (entries.size() == 1) return true;
  const std::string job = value_of(entries[entries.size() - 2], "JOB_TYPE");
  return job.empty() || job == "start";
}

Result<bool> ended_by_itself(const std::string& unit, long long since_unix_ms) {
  const std::string of_unit = "UNIT=" + unit;
  ASSIGN_OR_RETURN(const auto exported,
                   run_tool_checked({"journalctl", "--no-pager", "--quiet", "--output=export",
                                     "--output-fields=JOB_TYPE,MESSAGE_ID", "--lines=2",
                                     "--since=@" + std::to_string(since_unix_ms / 1000), "_PID=1", of_unit,
                                     std::string("MESSAGE_ID=") + kUnitSuccess, "+", "_PID=1", of_unit,
                                     "JOB_TYPE=start", "JOB_TYPE=stop", "JOB_TYPE=restart"},
                                    kJournalctlTimeout));
  return tells_end_by_itself(exported);
}

}  // namespace flurry::agent
