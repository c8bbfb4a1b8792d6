#include "core/transfer/lane_writer.h"

#include <string_view>
#include <utility>

#include "core/check.h"
#include "core/sys/fd.h"

namespace flurry::transfer {

// On the main stream the content of a raw block stands for itself.
Result<size_t> LaneWriter::send_on_main(const PackedBlock& block) {
  std::string header;
  if (block.type != FrameType::kRawBlock) put_frame_header(header, block.type, block.payload.size());
  RETURN_IF_ERROR(say(header));
  RETURN_IF_ERROR(say(block.payload));
  return header.size() + block.payload.size();
}

Result<size_t> LaneWriter::send_on_lane(SharedBlock block) {
  FLURRY_CHECK(!lanes_.empty());
  const size_t payload = block->payload.size();
  for (;;) {
    for (size_t i = 0; i < lanes_.size(); ++i) {
      Lane& lane = lanes_[(next_ + i) % lanes_.size()];
      if (lane.block != nullptr) continue;
      next_ = (next_ + i + 1) % lanes_.size();
      const char number = static_cast<char>(lane.number);
      RETURN_IF_ERROR(say(encode_frame(FrameType::kOnLane, {&number, 1})));
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

std::vector<int> LaneWriter::busy_lanes() const {
  std::vector<int> fds;
  for (const Lane& lane : lanes_)
    if (lane.block != nullptr) fds.push_back(lane.fd);
  return fds;
}

Result<void> LaneWriter::wait_for_room() {
  RETURN_IF_ERROR(main_.wait_for_room(busy_lanes()));
  for (Lane& lane : lanes_) RETURN_IF_ERROR(write(lane));
  return {};
}

// The receiver takes nothing from the main stream while it waits for the rest of a lane's block. So the lanes
// go on meanwhile.
Result<void> LaneWriter::say(std::string_view bytes) {
  if (busy_lanes().empty()) return main_.send_frames(bytes);
  while (!bytes.empty()) {
    auto fds = busy_lanes();
    fds.push_back(main_.out_fd());
    RETURN_IF_ERROR(main_.wait_for_room(fds));
    for (Lane& lane : lanes_) RETURN_IF_ERROR(write(lane));
    ASSIGN_OR_RETURN(const size_t n, sys::write_ready(main_.out_fd(), bytes));
    bytes.remove_prefix(n);
  }
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
