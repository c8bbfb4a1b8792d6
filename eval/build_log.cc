#include "eval/build_log.h"

#include <nlohmann/json.hpp>

#include "eval/nix_command.h"

namespace flurry::eval {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kPrefix = "@nix ";
constexpr std::string_view kStoreDir = "/nix/store/";
constexpr int kActivityBuild = 105;
constexpr int kResultLogLine = 101;
constexpr int kResultPostBuildLogLine = 107;
constexpr size_t kTailLines = 10;
constexpr size_t kTailLineMax = 1024;
constexpr size_t kTailsMax = 4096;  // derivations whose log's end is kept
constexpr size_t kMessageMax = 4096;

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

// Errors that only pass on that another derivation failed.
bool is_consequence(const std::string& text) {
  return contains(text, "dependencies of derivation") || contains(text, "dependency failed") ||
         contains(text, "dependencies failed") || text.starts_with("build of ");
}

}  // namespace

void BuildLog::take_line(std::string_view line) {
  if (!line.starts_with(kPrefix)) {
    std::string text = strip_escapes(line);
    if (text.starts_with("error: ")) take_message(text.substr(7));
    return;
  }
  try {
    const Json event = Json::parse(line.substr(kPrefix.size()));
    const auto action = event.value("action", std::string());
    const auto type = event.value("type", -1);
    const auto fields = event.value("fields", Json::array());
    if (action == "msg" && event.value("level", 9) == 0) {
      take_message(strip_escapes(event.value("raw_msg", event.value("msg", std::string()))));
    } else if (action == "start" && type == kActivityBuild && !fields.empty() && fields[0].is_string()) {
      building_[event.value("id", uint64_t{0})] = fields[0].get<std::string>();
    } else if (action == "result" && (type == kResultLogLine || type == kResultPostBuildLogLine) &&
               !fields.empty() && fields[0].is_string()) {
      take_log(event.value("id", uint64_t{0}), strip_escapes(fields[0].get<std::string>()));
    } else if (action == "stop") {
      building_.erase(event.value("id", uint64_t{0}));
    }
  } catch (const Json::exception&) {
    // A line that was cut, or of a shape that a later version has: only the log is poorer for it.
  }
}

void BuildLog::take_log(uint64_t activity, std::string line) {
  const auto building = building_.find(activity);
  if (building == building_.end()) return;
  if (on_log_) on_log_(short_name(building->second) + "> " + line);
  if (tails_.size() >= kTailsMax && !tails_.contains(building->second)) return;
  Tail& tail = tails_[building->second];
  tail.push_back(line.substr(0, kTailLineMax));
  if (tail.size() > kTailLines) tail.pop_front();
}

void BuildLog::take_message(std::string text) {
  if (text.starts_with("error: ")) text.erase(0, 7);
  if (text.size() > kMessageMax) text.resize(kMessageMax);
  last_error_ = text;
  const std::string drv = first_drv(text);
  if (!cause_.empty() || drv.empty() || is_consequence(text)) return;
  cause_ = text;
  cause_drv_ = drv;
}

std::string BuildLog::describe_failure(const std::string& drv) const {
  if (cause_.empty()) return last_error_.empty() ? "build failed without a message" : "build: " + last_error_;
  const bool own = cause_drv_ == drv;
  std::string out =
      own ? "build failed: " + cause_ : "build: dependency " + short_name(cause_drv_) + " failed: " + cause_;
  const auto tail = tails_.find(cause_drv_);
  if (tail == tails_.end()) return out;
  out += "\n  the end of its log:";
  for (const auto& line : tail->second) out += "\n    " + line;
  return out + "\n  all of it: nix log " + cause_drv_;
}

}  // namespace flurry::eval
