#pragma once

#include "cli/copy/copy.h"

namespace flurry::copy {

// What a copy would take. Bytes are those of NARs, but for wire_bytes.
struct CopyEstimate {
  uint64_t closure_paths = 0;
  uint64_t closure_bytes = 0;
  uint64_t missing_paths = 0;  // that the host lacks
  uint64_t missing_bytes = 0;
  uint64_t substituted_paths = 0;  // of those, what it would fetch itself
  uint64_t substituted_bytes = 0;
  uint64_t delta_paths = 0;  // of those that were tried, what would go as a delta
  uint64_t wire_bytes = 0;   // of what would be sent, about
};

// Asks the host what it lacks of the closure of `top`, in one round trip that changes nothing there, and
// packs that here as a copy would: the first kEstimateBytes of it, the rest is taken to be alike. Options and
// errors are those of copy_closure().
constexpr uint64_t kEstimateBytes = 256 << 20;
Result<CopyEstimate> estimate_copy(Connection& connection, const AgentCommand& command,
                                   const DeploymentId& deployment, const StorePath& top, nix::Daemon& local,
                                   const CopyOptions& options);

}  // namespace flurry::copy
