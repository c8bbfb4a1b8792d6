#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/delta/hash_rewriter.h"
#include "core/result.h"

namespace flurry::delta {

struct DeltaOptions {
  int level = 1;          // of zstd, for files that have something like them in the base
  int literal_level = 3;  // for the others
};

// How many bytes of contents went which way.
struct DeltaStats {
  uint64_t copied = 0;
  uint64_t rewritten = 0;
  uint64_t patched = 0;
  uint64_t literal = 0;
  uint64_t delta_bytes = 0;  // what came out
};

using DeltaSink = std::function<Result<void>(std::string_view)>;

// Gives `sink` the store path at `path` as a delta against the one at `base` (format.h), in pieces of at most
// kPiece bytes. `rewriter` is hash_pairs() of the two. Takes some 15 MiB of memory beside the outlines,
// whatever the size of the files. Errors: kUnsupported beyond the bounds (send it in full), kFailed, the
// sink's. Any thread.
Result<DeltaStats> write_delta(const std::string& path, const std::string& base, const HashRewriter& rewriter,
                               const DeltaOptions& options, const DeltaSink& sink);

}  // namespace flurry::delta
