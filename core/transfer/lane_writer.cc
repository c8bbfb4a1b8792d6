#include "core/transfer/lane_writer.h"

#include <string_view>
#include <utility>

#include "core/sys/fd.h"

namespace flurry::transfer {

// On the main stream the content of a raw block stands for itself.
Result<size_t> LaneWriter::send(SharedBlock block) {
  const size_t payload = block->payload.size();
  if (lanes_.empty() && block->type == FrameType::kRawBlock) {
    RETURN_IF_ERROR(main_.send_frames(block->payload));
    return payload;
  }
  if (lanes_.empty()) {
    RETURN_IF_ERROR(main_.send(block->type, block->payload));
    return kFrameHeaderSize + payload;
  }
  for (;;) {
    for (size_t i = 0; i < lanes_.size(); ++i) {
      Lane& lane = lanes_[(next_ + i) % lanes_.size()];
      if (lane.block != nullptr) continue;
      next_ = (next_ + i + 1) % lanes_.size();
      const char number = static_cast<char>(lane.number);
      RETURN_IF_ERROR(main_.send(FrameType::kOnLane, {&number, 1}));
      lane.header.clear();
      put_frame_header(lane.header, block->type, payload);
      lane.block = std::move(block);
      lane.written = 0;
      RETURN_IF_ERROR(write(lane));
      return kFrameHeaderSize + 1 + kFrameHeaderSize + payload;
    }
    RETURN_IF_ERROR(wait_for_room());
  }
}

Result<void> LaneWriter::flush() {
  for (;;) {
    bool is_free = true;
    for (const Lane& lane : lanes_) is_free = is_free && lane.block == nullptr;
    if (is_free) return {};
    RETURN_IF_ERROR(wait_for_room());
  }
}

Result<void> LaneWriter::wait_for_room() {
  std::vector<int> fds;
  for (const Lane& lane : lanes_)
    if (lane.block != nullptr) fds.push_back(lane.fd);
  RETURN_IF_ERROR(main_.wait_for_room(fds));
  for (Lane& lane : lanes_) RETURN_IF_ERROR(write(lane));
  return {};
}

Result<void> LaneWriter::write(Lane& lane) {
  while (lane.block != nullptr) {
    const bool is_in_header = lane.written < lane.header.size();
    const std::string_view rest =
        is_in_header ? std::string_view(lane.header).substr(lane.written)
                     : std::string_view(lane.block->payload).substr(lane.written - lane.header.size());
    ASSIGN_OR_RETURN(const size_t n, sys::write_ready(lane.fd, rest));
    if (n == 0) return {};
    lane.written += n;
    if (!is_in_header && n == rest.size()) lane.block.reset();
  }
  return {};
}

}  // namespace flurry::transfer
