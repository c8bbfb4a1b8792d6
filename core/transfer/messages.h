#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/names.h"
#include "core/nix/path_info.h"

namespace flurry::transfer {

// Controller and agent are of one release, so versions must be equal.
constexpr uint32_t kCopyProtocolVersion = 5;
// More channels than the one that the conversation runs over.
constexpr uint8_t kLanesMax = 8;
constexpr size_t kClosurePathsMax = 200'000;
// Paths in one kPaths frame: 4096 of the longest fit into a frame.
constexpr size_t kPathsPerFrame = 3072;
// One path, and with it a sum over a closure that cannot overflow.
constexpr uint64_t kNarSizeMax = 1ull << 44;

// One path of the closure; its place in the list, references first, is its index in all messages.
struct PathEntry {
  StorePath path;
  uint64_t nar_size = 0;  // bytes
};

struct Hello {
  uint32_t version = kCopyProtocolVersion;
  DeploymentId deployment;
  StorePath top;
  uint32_t path_count = 0;     // paths that follow in kPaths frames
  bool substitute = false;     // the host fetches itself what its substituters have
  bool only_question = false;  // the conversation ends with the answer, and nothing is changed
};

struct Missing {
  std::vector<uint32_t> indices;  // ascending
  uint64_t free_bytes = 0;
  uint64_t needed_bytes = 0;          // with the margin that must stay free
  std::string lane_address;           // what `flurry-agent import-lane` is told; empty: there can be no lanes
  std::vector<uint32_t> substituted;  // of `indices`, ascending: those that the host fetches itself
  std::string substitution_error;     // why it fetches nothing, where it was to
};

// How far the host is with what it fetches itself.
struct Fetched {
  bool has_ended = false;
  std::vector<uint32_t> failed;  // of Missing::substituted, ascending, at the end: these have to be sent
  std::string why;               // they failed; for a person
  uint64_t bytes = 0;            // so far
};

struct Done {
  uint64_t paths = 0;  // received
  uint64_t bytes = 0;  // of their NARs
  uint64_t substituted_paths = 0;
  uint64_t substituted_bytes = 0;  // of their NARs
};

// An error, and the path that it is about.
struct Failure {
  Error error;
  int64_t index = -1;  // none: -1
};

}  // namespace flurry::transfer
