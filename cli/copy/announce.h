#pragma once

#include <span>

#include "core/nix/path_info.h"
#include "core/transfer/frame_stream.h"
#include "core/transfer/messages.h"

namespace flurry::copy {

// Opens the conversation with an import: says what the host shall have. `hello.path_count` is set here.
// Errors are the stream's.
Result<void> announce(transfer::FrameStream& frames, transfer::Hello hello,
                      std::span<const nix::PathInfo> closure);

}  // namespace flurry::copy
