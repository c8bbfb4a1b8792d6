// Builds.
#include <algorithm>
#include <thread>

#include "core/nix/ansi.h"
#include "core/nix/daemon.h"
#include "core/nix/operations.h"

namespace flurry::nix {
namespace {

constexpr uint64_t kVerbosityWarn = 1;  // Nix: Verbosity in src/libutil/error.hh
constexpr uint64_t kShowBuildLog = 0;
constexpr uint64_t kModeNormal = 0;
constexpr unsigned kMinorOutputMap = 22;
constexpr unsigned kMinorBuildResults = 34;
constexpr unsigned kMinorCpuTimes = 37;
constexpr size_t kOutputsMax = 1024;
constexpr size_t kRealisationMax = 4 << 20;
constexpr std::string_view kStoreDir = "/nix/store/";

// The value of "outPath" in a realisation, {"id":"sha256:…!out","outPath":"<hash>-<name>",…}
// (Nix: src/libstore/realisation.cc). A store path needs no escapes in JSON, so finding is reading.
Result<StorePath> realised_path(const std::string& json) {
  constexpr std::string_view kKey = "\"outPath\"";
  const Error error{ErrorKind::kInvalidInput, "the Nix daemon gave an output without a path"};
  size_t at = json.find(kKey);
  if (at == std::string::npos) return error;
  at = json.find_first_not_of(" \t\n", at + kKey.size());
  if (at == std::string::npos || json[at] != ':') return error;
  at = json.find_first_not_of(" \t\n", at + 1);
  if (at == std::string::npos || json[at] != '"') return error;
  const size_t end = json.find('"', at + 1);
  if (end == std::string::npos) return error;
  const std::string text = json.substr(at + 1, end - at - 1);
  return StorePath::parse(text.starts_with('/') ? text : std::string(kStoreDir) + text);
}

BuildStatus status_of(uint64_t number) {
  return number <= static_cast<uint64_t>(BuildStatus::kNoSubstituters) ? static_cast<BuildStatus>(number)
                                                                       : BuildStatus::kUnknown;
}

}  // namespace

const char* build_status_name(BuildStatus status) {
  switch (status) {
    case BuildStatus::kBuilt:
      return "built";
    case BuildStatus::kSubstituted:
      return "substituted";
    case BuildStatus::kAlreadyValid:
      return "already valid";
    case BuildStatus::kPermanentFailure:
      return "failed";
    case BuildStatus::kInputRejected:
      return "input rejected";
    case BuildStatus::kOutputRejected:
      return "output rejected";
    case BuildStatus::kTransientFailure:
      return "failed, may work later";
    case BuildStatus::kCachedFailure:
      return "failed before";
    case BuildStatus::kTimedOut:
      return "timed out";
    case BuildStatus::kMiscFailure:
      return "failed";
    case BuildStatus::kDependencyFailed:
      return "dependency failed";
    case BuildStatus::kLogLimitExceeded:
      return "log too long";
    case BuildStatus::kNotDeterministic:
      return "not deterministic";
    case BuildStatus::kResolvesToAlreadyValid:
      return "already valid";
    case BuildStatus::kNoSubstituters:
      return "no substituter has it";
    case BuildStatus::kUnknown:
      break;
  }
  return "unknown status";
}

Result<void> Daemon::set_options(const BuildOptions& options, TimePoint deadline) {
  std::string request;
  put_u64(request, kOpSetOptions);
  put_u64(request, options.keep_failed);
  put_u64(request, options.keep_going);
  put_u64(request, 0);  // fall back to building when substitution fails
  put_u64(request, kVerbosityWarn);
  put_u64(request, options.max_jobs.value_or(std::max(1u, std::thread::hardware_concurrency())));
  put_u64(request, options.max_silent_seconds);
  put_u64(request, 1);  // obsolete: build hook
  put_u64(request, kShowBuildLog);
  put_u64(request, 0);  // obsolete: log type
  put_u64(request, 0);  // obsolete: print build trace
  put_u64(request, options.cores);
  put_u64(request, options.use_substitutes);
  put_u64(request, options.settings.size());
  for (const auto& [name, value] : options.settings) {
    put_str(request, name);
    put_str(request, value);
  }
  RETURN_IF_ERROR(call(request, deadline));
  done();
  return {};
}

Result<MissingPaths> Daemon::query_missing(std::span<const std::string> targets, TimePoint deadline) {
  std::string request;
  put_u64(request, kOpQueryMissing);
  put_strs(request, targets);
  RETURN_IF_ERROR(call(request, deadline));
  MissingPaths missing;
  ASSIGN_OR_RETURN(missing.to_build, stream_.paths());
  ASSIGN_OR_RETURN(missing.to_substitute, stream_.paths());
  ASSIGN_OR_RETURN(missing.unknown, stream_.paths());
  ASSIGN_OR_RETURN(missing.download_bytes, stream_.u64());
  ASSIGN_OR_RETURN(missing.nar_bytes, stream_.u64());
  done();
  return missing;
}

// KeyedBuildResult. Nix: src/libstore/worker-protocol.cc.
Result<BuildResult> Daemon::read_build_result() {
  BuildResult result;
  ASSIGN_OR_RETURN(result.target, stream_.str(kPathTextMax));
  ASSIGN_OR_RETURN(const uint64_t status, stream_.u64());
  result.status = status_of(status);
  ASSIGN_OR_RETURN(const std::string error, stream_.str(kMessageTextMax));
  result.error = strip_ansi(error);
  RETURN_IF_ERROR(stream_.u64());  // times built
  RETURN_IF_ERROR(stream_.u64());  // is not deterministic
  ASSIGN_OR_RETURN(const uint64_t started, stream_.u64());
  ASSIGN_OR_RETURN(const uint64_t stopped, stream_.u64());
  result.started_unix_s = static_cast<long long>(started);
  result.stopped_unix_s = static_cast<long long>(stopped);
  for (int i = 0; minor_ >= kMinorCpuTimes && i < 2; ++i) {  // user and system time
    ASSIGN_OR_RETURN(const uint64_t is_known, stream_.u64_up_to(1, "tag of a CPU time"));
    if (is_known == 1) RETURN_IF_ERROR(stream_.u64());
  }
  ASSIGN_OR_RETURN(const uint64_t outputs, stream_.u64_up_to(kOutputsMax, "number of outputs"));
  for (uint64_t i = 0; i < outputs; ++i) {
    ASSIGN_OR_RETURN(const std::string id, stream_.str(kPathTextMax));
    ASSIGN_OR_RETURN(const std::string realisation, stream_.str(kRealisationMax));
    ASSIGN_OR_RETURN(StorePath path, realised_path(realisation));
    result.outputs.emplace(id.substr(id.rfind('!') + 1), std::move(path));
  }
  return result;
}

Result<std::vector<BuildResult>> Daemon::build_paths_with_results(std::span<const std::string> targets,
                                                                  const BuildEventSink& on_event,
                                                                  TimePoint deadline) {
  RETURN_IF_ERROR(require_minor(kMinorBuildResults, "building with results"));
  std::string request;
  put_u64(request, kOpBuildPathsWithResults);
  put_strs(request, targets);
  put_u64(request, kModeNormal);
  BuildEvents events(on_event);
  RETURN_IF_ERROR(call(request, deadline, &events));
  ASSIGN_OR_RETURN(const uint64_t count, stream_.u64_up_to(kPathsMax, "number of build results"));
  std::vector<BuildResult> results;
  while (results.size() < count) {
    ASSIGN_OR_RETURN(BuildResult result, read_build_result());
    results.push_back(std::move(result));
  }
  done();
  return results;
}

Result<std::map<std::string, std::optional<StorePath>>> Daemon::query_derivation_output_map(
    const StorePath& derivation, TimePoint deadline) {
  RETURN_IF_ERROR(require_minor(kMinorOutputMap, "listing a derivation's outputs"));
  std::string request;
  put_u64(request, kOpQueryDerivationOutputMap);
  put_str(request, derivation.str());
  RETURN_IF_ERROR(call(request, deadline));
  ASSIGN_OR_RETURN(const uint64_t count, stream_.u64_up_to(kOutputsMax, "number of outputs"));
  std::map<std::string, std::optional<StorePath>> outputs;
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(std::string name, stream_.str(kPathTextMax));
    ASSIGN_OR_RETURN(auto path, stream_.optional_path());
    outputs.emplace(std::move(name), std::move(path));
  }
  done();
  return outputs;
}

}  // namespace flurry::nix
