#include "eval/build_log.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "eval/json_reader.h"
#include "eval/nix_command.h"

namespace flurry::eval {
namespace {

constexpr std::string_view kPrefix = "@nix ";
constexpr std::string_view kStoreDir = "/nix/store/";
constexpr uint64_t kActivityBuild = 105;
constexpr uint64_t kResultLogLine = 101;
constexpr uint64_t kResultPostBuildLogLine = 107;
constexpr size_t kTailLines = 10;
constexpr size_t kTailLineMax = 1024;
constexpr size_t kTailsMax = 4096;  // derivations whose log's end is kept
constexpr size_t kMessageMax = 4096;
constexpr size_t kBuildingMax = 4096;  // at a time
constexpr size_t kDrvMax = 256;

// The first derivation that the text names; empty when none.
std::string first_drv(std::string_view text) {
  const size_t end = text.find(".drv");
  if (end == std::string_view::npos) return {};
  const size_t start = text.rfind(kStoreDir, end);
  if (start == std::string_view::npos) return {};
  return std::string(text.substr(start, end + 4 - start));
}

// "openssl-3.0" of its derivation's path.
std::string short_name(const std::string& drv) {
  const size_t name = kStoreDir.size() + 33;
  if (drv.size() < name + 4) return drv;
  return drv.substr(name, drv.size() - name - 4);
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// Errors that only pass on that another derivation failed. What a remote builder says of its own build
// ("build of 'X' on 'ssh://B' failed: …") is none.
bool is_consequence(const std::string& text) {
  return contains(text, "dependencies of derivation") || contains(text, "dependency failed") ||
         contains(text, "dependencies failed") ||
         (text.starts_with("build of ") && !contains(text, "' on '"));
}

// A builder that was not to be had; Nix goes on with another one, or with none.
bool is_refusal(const std::string& text) { return text.starts_with("cannot build on '"); }

// The members of an event that are of the right type; nothing for others.

std::optional<uint64_t> number_in(const Json& event, const char* key) {
  const auto found = event.find(key);
  if (found == event.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<uint64_t>();
}

std::string text_in(const Json& event, const char* key) {
  const auto found = event.find(key);
  return found != event.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<std::string> first_field(const Json& event) {
  const auto fields = event.find("fields");
  if (fields == event.end() || !fields->is_array() || fields->empty() || !fields->front().is_string())
    return std::nullopt;
  return fields->front().get<std::string>();
}

}  // namespace

void BuildLog::take_line(std::string_view line) {
  if (!line.starts_with(kPrefix)) {
    std::string text = strip_escapes(line);
    if (text.starts_with("error: ")) take_message(text.substr(7));
    return;
  }
  // A line that was cut, or of a shape that a later version has: only the log is poorer for it.
  const auto parsed = parse_json(line.substr(kPrefix.size()), "log");
  if (!parsed) return;
  const Json& event = *parsed;
  const auto action = text_in(event, "action");
  const auto type = number_in(event, "type").value_or(0);
  const auto id = number_in(event, "id").value_or(0);
  const auto raw = text_in(event, "raw_msg");
  const auto field = first_field(event);
  if (action == "msg" && number_in(event, "level") == 0u)
    take_message(strip_escapes(raw.empty() ? text_in(event, "msg") : raw));
  else if (action == "start" && type == kActivityBuild && field && field->size() <= kDrvMax &&
           building_.size() < kBuildingMax)
    building_[id] = *field;
  else if (action == "result" && (type == kResultLogLine || type == kResultPostBuildLogLine) && field)
    take_log(id, strip_escapes(*field));
  else if (action == "stop")
    building_.erase(id);
}

void BuildLog::take_log(uint64_t activity, std::string line) {
  const auto building = building_.find(activity);
  if (building == building_.end()) return;
  if (on_line_) on_line_(short_name(building->second) + "> " + line);
  if (tails_.size() >= kTailsMax && !tails_.contains(building->second)) return;
  Tail& tail = tails_[building->second];
  tail.push_back(line.substr(0, kTailLineMax));
  if (tail.size() > kTailLines) tail.pop_front();
}

void BuildLog::take_message(std::string text) {
  if (text.starts_with("error: ")) text.erase(0, 7);
  if (text.size() > kMessageMax) text.resize(kMessageMax);
  if (is_refusal(text)) {
    refusal_ = "\n  " + text;
    return;
  }
  if (!is_consequence(text) || last_error_.empty()) last_error_ = text + refusal_;
  std::string drv = first_drv(text);
  if (drv.empty() || is_consequence(text) || failed_.size() >= kTailsMax || !failed_.insert(drv).second)
    return;
  BuildFailure failure{std::move(drv), text + refusal_, {}};
  if (const auto tail = tails_.find(failure.drv); tail != tails_.end())
    for (const auto& line : tail->second) failure.log_tail += "\n    " + line;
  if (on_failure_) on_failure_(std::move(failure));
}

std::string BuildFailure::describe(bool is_own) const {
  std::string out =
      is_own ? "build failed: " + cause : "build: dependency " + short_name(drv) + " failed: " + cause;
  if (log_tail.empty()) return out;
  return out + "\n  the end of its log:" + log_tail + "\n  all of it: nix log " + drv;
}

}  // namespace flurry::eval
