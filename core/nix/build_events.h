#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace flurry::nix {

// Something that happened during a build.
struct BuildEvent {
  enum class Kind {
    kStarted,   // `derivation` is being built
    kPhase,     // it entered the phase `text`
    kLogLine,   // it printed `text`
    kFinished,  // it ended, well or not: the result tells
    kMessage,   // the daemon's own words, mostly an error about some derivation; `derivation` is empty
  };
  Kind kind = Kind::kMessage;
  std::string derivation;  // as the daemon says it, "/nix/store/…-name.drv"
  std::string text;        // without escape sequences
};
using BuildEventSink = std::function<void(const BuildEvent&)>;

// Turns the daemon's activities (Nix: src/libutil/logging.hh) into events. Bounded: of more than
// kActivitiesMax activities open at once the newest are not followed. Does no I/O. One thread.
class BuildEvents {
 public:
  static constexpr size_t kActivitiesMax = 4096;
  using Field = std::variant<uint64_t, std::string>;

  explicit BuildEvents(BuildEventSink sink) : sink_(std::move(sink)) {}

  void message(const std::string& text);
  void start(uint64_t id, uint64_t type, const std::vector<Field>& fields);
  void stop(uint64_t id);
  void result(uint64_t id, uint64_t type, const std::vector<Field>& fields);

  // Grows whenever something got further: bytes came, a path is done. That a download is tried again, or
  // is looked at and has not moved, is no progress.
  uint64_t steps() const { return steps_; }
  // Bytes that went into the store so far; what failed later is among them.
  uint64_t copied_bytes() const { return copied_bytes_; }

 private:
  struct Copied {
    bool is_path = false;  // and not a file of a cache, or a count of others
    uint64_t done = 0;
  };

  void follow(uint64_t id, const std::vector<Field>& fields);
  void tell(BuildEvent::Kind kind, const std::string& derivation, const std::string& text);

  BuildEventSink sink_;                          // may be empty
  std::map<uint64_t, std::string> derivations_;  // by activity
  std::map<uint64_t, Copied> copied_;            // by activity
  uint64_t steps_ = 0;
  uint64_t copied_bytes_ = 0;
};

}  // namespace flurry::nix
