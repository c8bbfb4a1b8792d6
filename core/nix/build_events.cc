#include "core/nix/build_events.h"

#include "core/nix/ansi.h"

namespace flurry::nix {
namespace {

// Nix: ActivityType and ResultType in src/libutil/logging.hh, unchanged from 2.0 to 2.35.
constexpr uint64_t kActivityCopyPath = 100;
constexpr uint64_t kActivityBuild = 105;
constexpr uint64_t kResultBuildLogLine = 101;
constexpr uint64_t kResultSetPhase = 104;
constexpr uint64_t kResultProgress = 105;
constexpr uint64_t kResultPostBuildLogLine = 107;

const std::string* first_text(const std::vector<BuildEvents::Field>& fields) {
  return fields.empty() ? nullptr : std::get_if<std::string>(&fields.front());
}

}  // namespace

void BuildEvents::tell(BuildEvent::Kind kind, const std::string& derivation, const std::string& text) {
  if (sink_) sink_(BuildEvent{kind, derivation, strip_ansi(text)});
}

void BuildEvents::message(const std::string& text) { tell(BuildEvent::Kind::kMessage, "", text); }

void BuildEvents::start(uint64_t id, uint64_t type, const std::vector<Field>& fields) {
  const std::string* derivation = first_text(fields);
  if (type == kActivityCopyPath && copied_.size() < kActivitiesMax)
    copied_.emplace(id, Copied{.is_path = true});
  if (type != kActivityBuild || derivation == nullptr || derivations_.size() >= kActivitiesMax) return;
  if (!derivations_.emplace(id, *derivation).second) return;
  tell(BuildEvent::Kind::kStarted, *derivation, "");
}

// A file of a cache may be fetched without a path being written yet, so all that grows counts.
void BuildEvents::follow(uint64_t id, const std::vector<Field>& fields) {
  const uint64_t* done = fields.empty() ? nullptr : std::get_if<uint64_t>(&fields.front());
  if (done == nullptr) return;
  if (!copied_.contains(id) && copied_.size() >= kActivitiesMax) return;
  Copied& copied = copied_[id];
  if (*done <= copied.done) return;
  ++steps_;
  if (copied.is_path) copied_bytes_ += *done - copied.done;
  copied.done = *done;
}

void BuildEvents::stop(uint64_t id) {
  const auto copied = copied_.find(id);
  if (copied != copied_.end()) {
    if (copied->second.is_path) ++steps_;
    copied_.erase(copied);
  }
  const auto found = derivations_.find(id);
  if (found == derivations_.end()) return;
  tell(BuildEvent::Kind::kFinished, found->second, "");
  derivations_.erase(found);
}

void BuildEvents::result(uint64_t id, uint64_t type, const std::vector<Field>& fields) {
  if (type == kResultProgress) return follow(id, fields);
  const auto found = derivations_.find(id);
  const std::string* text = first_text(fields);
  if (found == derivations_.end() || text == nullptr) return;
  if (type == kResultBuildLogLine || type == kResultPostBuildLogLine)
    tell(BuildEvent::Kind::kLogLine, found->second, *text);
  if (type == kResultSetPhase) tell(BuildEvent::Kind::kPhase, found->second, *text);
}

}  // namespace flurry::nix
