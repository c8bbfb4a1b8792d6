#include "cli/copy/path_sender.h"

#include <algorithm>

#include "core/delta/delta_writer.h"
#include "core/delta/hash_pairs.h"
#include "core/nix/nar.h"

namespace flurry::copy {
namespace {

using transfer::FrameType;

// What is smaller is hardly more than the name of a base.
constexpr uint64_t kDeltaMin = 512;
// What is smaller goes with others into a block, which is then no other host's.
constexpr uint64_t kSharedMin = 1 << 20;
// Of a NAR, in a shared block: one frame.
constexpr uint64_t kBlockNar = transfer::kBlockContentMax - transfer::kFrameHeaderSize;
// A delta that is longer is made for each host as it goes out.
constexpr size_t kSharedDeltaMax = 8 << 20;
constexpr size_t kPiece = 64 << 10;

Error changed(const nix::PathInfo& info) {
  return {ErrorKind::kFailed, info.path.str() + " in the local store is not what its database says; " +
                                  "`nix-store --verify-path` tells more"};
}

}  // namespace

Result<void> PathSender::send(const nix::PathInfo& info, const nix::PathInfo* base) {
  if (base != nullptr && info.nar_size >= kDeltaMin) {
    ASSIGN_OR_RETURN(const bool is_sent,
                     shared_ != nullptr ? send_shared_delta(info, *base) : send_delta(info, *base));
    if (is_sent) {
      ++delta_paths_;
      delta_bytes_ += info.nar_size;
      return {};
    }
  }
  return shared_ != nullptr && info.nar_size >= kSharedMin ? send_shared_nar(info) : send_nar(info);
}

Result<void> PathSender::add(FrameType type, std::string_view payload) {
  if (payload.size() > transfer::kFramePayloadMax)
    return Error{ErrorKind::kUnsupported, "a path has too many references to be copied"};
  return blocks_.add(type, payload);
}

Result<void> PathSender::send_info(const nix::PathInfo& info, const nix::PathInfo* base) {
  return add(FrameType::kPathInfo, encode_path_info(info, index_of_, base));
}

Result<void> PathSender::send_nar(const nix::PathInfo& info) {
  RETURN_IF_ERROR(send_info(info, nullptr));
  uint64_t sent = 0;
  const auto take = [&](std::string_view piece) -> Result<void> {
    sent += piece.size();
    // Else the host would wait for a rest that never comes, or be told more than it was promised.
    if (sent > info.nar_size) return changed(info);
    RETURN_IF_ERROR(add(FrameType::kNarChunk, piece));
    return on_piece_(piece.size());
  };
  RETURN_IF_ERROR(nix::write_nar(info.path.str(), take));
  if (sent != info.nar_size) return changed(info);
  return {};
}

Result<void> PathSender::send_shared_nar(const nix::PathInfo& info) {
  RETURN_IF_ERROR(send_info(info, nullptr));
  RETURN_IF_ERROR(blocks_.flush());
  for (uint64_t index = 0; index * kBlockNar < info.nar_size; ++index) {
    const auto block = shared_->find(info.path.str(), index);
    if (block == nullptr) return send_own_blocks(info, index);
    RETURN_IF_ERROR(send_block(block));
  }
  return {};
}

// From that one on; some of them may be here already.
Result<void> PathSender::send_own_blocks(const nix::PathInfo& info, uint64_t first) {
  const SharedBlocks::Making making(*shared_, info.path.str());
  std::string frame;
  uint64_t begin = 0;  // of the block that is gathered, in the NAR
  const auto end_block = [&](uint64_t size) -> Result<void> {
    const uint64_t index = begin / kBlockNar;
    begin += size;
    if (index < first) return {};
    const auto block = shared_->get(info.path.str(), index, [&] {
      std::string header;
      transfer::put_frame_header(header, FrameType::kNarChunk, frame.size());
      frame.insert(0, header);
      return blocks_.pack(frame);
    });
    frame.clear();
    return send_block(block);
  };
  uint64_t read = 0;
  const auto take = [&](std::string_view piece) -> Result<void> {
    if (piece.size() > info.nar_size - read) return changed(info);
    while (!piece.empty()) {
      const auto part = piece.substr(0, begin + kBlockNar - read);
      if (begin / kBlockNar >= first) frame += part;
      read += part.size();
      piece.remove_prefix(part.size());
      if (read == begin + kBlockNar) RETURN_IF_ERROR(end_block(kBlockNar));
    }
    return {};
  };
  RETURN_IF_ERROR(nix::write_nar(info.path.str(), take));
  if (read != info.nar_size) return changed(info);
  return read == begin ? Result<void>() : end_block(read - begin);
}

Result<void> PathSender::send_block(const SharedBlocks::Block& block) {
  RETURN_IF_ERROR(blocks_.send(block));
  return on_piece_(block->content - transfer::kFrameHeaderSize);
}

// False, and nothing was sent, where there can be none.
Result<bool> PathSender::send_delta(const nix::PathInfo& info, const nix::PathInfo& base) {
  bool is_begun = false;
  const auto written = delta::write_delta(info.path.str(), base.path.str(), delta::hash_pairs(base, info), {},
                                          [&](std::string_view piece) -> Result<void> {
                                            if (!std::exchange(is_begun, true))
                                              RETURN_IF_ERROR(send_info(info, &base));
                                            RETURN_IF_ERROR(add(FrameType::kNarChunk, piece));
                                            return on_piece_(0);
                                          });
  if (!written && !is_begun && written.error().kind == ErrorKind::kUnsupported) return false;
  if (!written) return written.error();
  RETURN_IF_ERROR(add(FrameType::kNarChunk, ""));
  RETURN_IF_ERROR(on_piece_(info.nar_size));
  return true;
}

// The same.
Result<bool> PathSender::send_shared_delta(const nix::PathInfo& info, const nix::PathInfo& base) {
  bool is_long = false;
  const auto make = [&]() -> Result<std::string> {
    std::string bytes;
    const auto written =
        delta::write_delta(info.path.str(), base.path.str(), delta::hash_pairs(base, info), {},
                           [&](std::string_view piece) -> Result<void> {
                             is_long = bytes.size() + piece.size() > kSharedDeltaMax;
                             if (is_long) return Error{ErrorKind::kUnsupported, "too long to be shared"};
                             bytes += piece;
                             return {};
                           });
    if (is_long) return std::string();
    if (!written) return written.error();
    return bytes;
  };
  const auto bytes = shared_->delta(info.path.str() + "<" + base.path.str(), make);
  if (!bytes && bytes.error().kind == ErrorKind::kUnsupported) return false;
  if (!bytes) return bytes.error();
  if (*bytes == nullptr) return send_delta(info, base);
  RETURN_IF_ERROR(send_info(info, &base));
  for (std::string_view rest = **bytes; !rest.empty(); rest.remove_prefix(std::min(kPiece, rest.size()))) {
    RETURN_IF_ERROR(add(FrameType::kNarChunk, rest.substr(0, kPiece)));
    RETURN_IF_ERROR(on_piece_(0));
  }
  RETURN_IF_ERROR(add(FrameType::kNarChunk, ""));
  RETURN_IF_ERROR(on_piece_(info.nar_size));
  return true;
}

}  // namespace flurry::copy
