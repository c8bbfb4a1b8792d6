#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "cli/copy/lanes.h"
#include "cli/copy/shared_blocks.h"
#include "cli/copy/signing_key.h"
#include "cli/transport.h"
#include "core/nix/daemon.h"

namespace flurry::copy {

struct CopyStats {
  uint64_t closure_paths = 0;
  uint64_t closure_bytes = 0;  // of NARs, like all that isn't said to be on the wire
  uint64_t copied_paths = 0;
  uint64_t copied_bytes = 0;
  uint64_t delta_paths = 0;  // of the copied ones, those that went as deltas
  uint64_t delta_bytes = 0;
  uint64_t substituted_paths = 0;  // that the host fetched itself
  uint64_t substituted_bytes = 0;
  uint64_t wire_bytes = 0;  // that were sent to the host, before SSH encrypted them
  std::string
      substitution_error;  // why the host fetched nothing, or less than it had found; empty: no trouble
};

struct CopyProgress {
  uint64_t bytes_total = 0;  // of the NARs that the host lacks and doesn't fetch itself
  uint64_t bytes_sent = 0;
  uint64_t paths_total = 0;
  uint64_t paths_done = 0;         // registered on the host
  uint64_t wire_bytes = 0;         // as in CopyStats
  uint64_t substituted_paths = 0;  // that the host fetches itself, or did
  uint64_t substituted_bytes = 0;  // of NARs that it fetched so far, about
};
using ProgressSink = std::function<void(const CopyProgress&)>;

// Longest wait without any progress: the host may hash, sync a full disk or wait for a lock meanwhile.
constexpr Millis kCopyIdleTimeout{300'000};

// What is less is there before more channels are open.
constexpr uint64_t kLanesFrom = 16 << 20;

// What may differ from one copy to the next.
struct CopyOptions {
  const SigningKey* key =
      nullptr;  // signs on the way what it hasn't signed yet; none: signatures as they are
  std::span<const StorePath>
      bases;  // whose closures the host has: what succeeds a path of theirs goes as a delta
  SharedBlocks* shared = nullptr;  // where other hosts may get the same; none: this host is the only one
  bool substitute = false;         // the host fetches itself what its substituters have
  Millis idle_timeout = kCopyIdleTimeout;
  uint64_t lanes_from = kLanesFrom;  // bytes of missing NARs from which on there are lanes
};

// Brings the closure of `top` from this machine's store to the host: runs `flurry-agent import` there, asks
// in one round trip what is missing, sends that, references first, over several channels where it is much,
// and returns when the host has registered and synced all and holds it with a GC root. Reads NARs straight
// from /nix/store. With `substitute`, the host meanwhile fetches what its substituters have; what they then
// can't give is sent. Where a base turns out to be another on the host, all goes in full. `on_progress` may
// be empty; it is called from within, now and then and at the end. A copy that failed can be run again and
// sends only the rest. Errors: kUnreachable (the connection died), kTimedOut (no progress for
// `idle_timeout`), kNoSpace, and what the host or the local daemon said. One thread at a time.
Result<CopyStats> copy_closure(Connection& connection, const AgentCommand& command,
                               const DeploymentId& deployment, const StorePath& top, nix::Daemon& local,
                               const CopyOptions& options, const ProgressSink& on_progress);

}  // namespace flurry::copy
