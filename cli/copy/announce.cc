#include "cli/copy/announce.h"

#include <algorithm>

#include "cli/copy/convert.h"

namespace flurry::copy {

using transfer::FrameType;

Result<void> announce(transfer::FrameStream& frames, transfer::Hello hello,
                      std::span<const nix::PathInfo> closure) {
  hello.path_count = static_cast<uint32_t>(closure.size());
  RETURN_IF_ERROR(frames.send(FrameType::kHello, encode_hello(hello)));
  for (size_t from = 0; from < closure.size(); from += transfer::kPathsPerFrame) {
    const auto part = closure.subspan(from, std::min(transfer::kPathsPerFrame, closure.size() - from));
    RETURN_IF_ERROR(frames.send(FrameType::kPaths, encode_paths(part)));
  }
  return {};
}

}  // namespace flurry::copy
