#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace flurry::delta {

// Bounds on both sides; a path that is beyond them is sent in full.
constexpr size_t kFilesMax = 200'000;
constexpr size_t kOutlineMax = 16 << 20;  // bytes

// Where a file's contents belong in a NAR.
struct Hole {
  uint64_t at = 0;    // bytes of the outline before it
  uint64_t size = 0;  // bytes of contents; their padding is not in the outline either
};

// A NAR without the contents of its files.
struct NarOutline {
  std::string text;
  std::vector<Hole> holes;  // in the order of the NAR

  // Bytes of the whole NAR.
  uint64_t nar_size() const;
};

// For the wire, and as what another outline is compressed against.
std::string encode_outline(const NarOutline& outline);
// kInvalidInput for what encode_outline() can't have made, or what is beyond the bounds.
Result<NarOutline> decode_outline(std::string_view bytes);

// What a store path holds: its outline, and its files by their place below it, one for each hole; "" where
// the path is a file itself.
struct NarTree {
  NarOutline outline;
  std::vector<std::string> files;
};

// Reads names and sizes, not contents. kUnsupported beyond the bounds, or for what no NAR can hold. Any
// thread.
Result<NarTree> read_tree(const std::string& path);

}  // namespace flurry::delta
