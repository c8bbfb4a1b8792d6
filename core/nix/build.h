#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/names.h"
#include "core/nix/build_events.h"

namespace flurry::nix {

struct BuildOptions {
  bool keep_going = true;            // build on what does not depend on a failure
  bool keep_failed = false;          // keep the build directories of failures
  std::optional<uint64_t> max_jobs;  // none: one per CPU; 0: remote builders only
  uint64_t cores = 0;                // for one build; 0: all
  uint64_t max_silent_seconds = 0;   // 0: no limit
  bool use_substitutes = true;
  std::map<std::string, std::string> settings;  // as `--option name value`
};

// Nix: BuildResult::Status in src/libstore/build-result.hh.
enum class BuildStatus : uint8_t {
  kBuilt = 0,
  kSubstituted = 1,
  kAlreadyValid = 2,
  kPermanentFailure = 3,
  kInputRejected = 4,
  kOutputRejected = 5,
  kTransientFailure = 6,
  kCachedFailure = 7,
  kTimedOut = 8,
  kMiscFailure = 9,
  kDependencyFailed = 10,
  kLogLimitExceeded = 11,
  kNotDeterministic = 12,
  kResolvesToAlreadyValid = 13,
  kNoSubstituters = 14,
  kUnknown = 255,  // newer than this list
};

struct BuildResult {
  std::string target;  // as asked for
  BuildStatus status = BuildStatus::kUnknown;
  std::string error;  // the daemon's text, without escape sequences; empty on success
  long long started_unix_s = 0;
  long long stopped_unix_s = 0;
  std::map<std::string, StorePath> outputs;  // by name; what the daemon reported

  bool is_success() const {
    return status == BuildStatus::kBuilt || status == BuildStatus::kSubstituted ||
           status == BuildStatus::kAlreadyValid || status == BuildStatus::kResolvesToAlreadyValid;
  }
};

// "built", "dependency failed": for messages.
const char* build_status_name(BuildStatus status);

struct MissingPaths {
  std::vector<StorePath> to_build;  // derivations
  std::vector<StorePath> to_substitute;
  std::vector<StorePath> unknown;
  uint64_t download_bytes = 0;
  uint64_t nar_bytes = 0;
};

}  // namespace flurry::nix
