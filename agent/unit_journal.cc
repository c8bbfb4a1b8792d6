#include "agent/unit_journal.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "agent/tools.h"

namespace flurry::agent {
namespace {

using Json = nlohmann::json;

constexpr Millis kJournalctlTimeout{10'000};

// "Deactivated successfully", by systemd's catalog of messages.
constexpr const char* kUnitSuccess = "7ad2d189f7e94e70a38c781354912448";

std::string text_of(const Json& entry, const char* field) {
  const auto it = entry.find(field);
  return it != entry.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

bool tells_end_by_itself(std::string_view json_lines) {
  std::vector<Json> entries;
  for (size_t at = 0; at < json_lines.size();) {
    const size_t end = std::min(json_lines.find('\n', at), json_lines.size());
    if (end > at) entries.push_back(Json::parse(json_lines.substr(at, end - at), nullptr, false));
    at = end + 1;
  }
  if (entries.empty() || !entries.back().is_object()) return false;
  const Json& last = entries.back();
  if (text_of(last, "MESSAGE_ID") != kUnitSuccess || !text_of(last, "JOB_TYPE").empty()) return false;
  if (entries.size() == 1) return true;
  const Json& before = entries[entries.size() - 2];
  const std::string job = before.is_object() ? text_of(before, "JOB_TYPE") : "?";
  return job.empty() || job == "start";
}

Result<bool> ended_by_itself(const std::string& unit, long long since_unix_ms) {
  const std::string of_unit = "UNIT=" + unit;
  ASSIGN_OR_RETURN(const auto lines,
                   run_tool_checked({"journalctl", "--no-pager", "--quiet", "--output=json",
                                     "--output-fields=JOB_TYPE,MESSAGE_ID", "--lines=2",
                                     "--since=@" + std::to_string(since_unix_ms / 1000), "_PID=1", of_unit,
                                     std::string("MESSAGE_ID=") + kUnitSuccess, "+", "_PID=1", of_unit,
                                     "JOB_TYPE=start", "JOB_TYPE=stop", "JOB_TYPE=restart"},
                                    kJournalctlTimeout));
  return tells_end_by_itself(lines);
}

}  // namespace flurry::agent
