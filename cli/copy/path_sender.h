#pragma once

#include <functional>

#include "cli/copy/convert.h"
#include "cli/copy/shared_blocks.h"
#include "core/nix/path_info.h"
#include "core/transfer/block_stream.h"

namespace flurry::copy {

// Puts paths into the stream of a copy: in full, or as deltas. One thread.
class PathSender {
 public:
  // Is told how many bytes of NARs what was just sent is worth; an error of it ends the path.
  using OnPiece = std::function<Result<void>(uint64_t worth)>;

  // `shared`: null where no other host gets the same.
  PathSender(transfer::BlockStream& blocks, const IndexOfPath& index_of, SharedBlocks* shared,
             OnPiece on_piece)
      : blocks_(blocks), index_of_(index_of), shared_(shared), on_piece_(std::move(on_piece)) {}

  // Its references went before it. `base`: what the host has and it may be a successor of, or null. Errors
  // are the stream's, those of `on_piece`, and of what can't be read or isn't what the database says.
  Result<void> send(const nix::PathInfo& info, const nix::PathInfo* base);

  uint64_t delta_paths() const { return delta_paths_; }
  uint64_t delta_bytes() const { return delta_bytes_; }  // of their NARs

 private:
  Result<void> add(transfer::FrameType type, std::string_view payload);
  Result<void> send_info(const nix::PathInfo& info, const nix::PathInfo* base);
  Result<void> send_nar(const nix::PathInfo& info);
  Result<void> send_shared_nar(const nix::PathInfo& info);
  Result<void> send_own_blocks(const nix::PathInfo& info, uint64_t first);
  Result<void> send_block(const SharedBlocks::Block& block);
  Result<bool> send_delta(const nix::PathInfo& info, const nix::PathInfo& base);
  Result<bool> send_shared_delta(const nix::PathInfo& info, const nix::PathInfo& base);

  transfer::BlockStream& blocks_;
  const IndexOfPath& index_of_;
  SharedBlocks* const shared_;
  const OnPiece on_piece_;
  uint64_t delta_paths_ = 0;
  uint64_t delta_bytes_ = 0;
};

}  // namespace flurry::copy
