#include "core/transfer/lane_writer.h"

#include "core/sys/fd.h"

namespace flurry::transfer {

Result<void> LaneWriter::send(FrameType type, std::string_view payload) {
  if (lanes_.empty()) return main_.send(type, payload);
  for (;;) {
    for (size_t i = 0; i < lanes_.size(); ++i) {
      Lane& lane = lanes_[(next_ + i) % lanes_.size()];
      if (!lane.is_free()) continue;
      next_ = (next_ + i + 1) % lanes_.size();
      const char number = static_cast<char>(lane.number);
      RETURN_IF_ERROR(main_.send(FrameType::kOnLane, {&number, 1}));
      lane.waiting.clear();
      lane.written = 0;
      put_frame_header(lane.waiting, type, payload.size());
      lane.waiting += payload;
      return write(lane);
    }
    RETURN_IF_ERROR(wait_for_room());
  }
}

Result<void> LaneWriter::flush() {
  for (;;) {
    bool is_free = true;
    for (const Lane& lane : lanes_) is_free = is_free && lane.is_free();
    if (is_free) return {};
    RETURN_IF_ERROR(wait_for_room());
  }
}

Result<void> LaneWriter::wait_for_room() {
  std::vector<int> fds;
  for (const Lane& lane : lanes_)
    if (!lane.is_free()) fds.push_back(lane.fd);
  RETURN_IF_ERROR(main_.wait_for_room(fds));
  for (Lane& lane : lanes_) RETURN_IF_ERROR(write(lane));
  return {};
}

Result<void> LaneWriter::write(Lane& lane) {
  while (!lane.is_free()) {
    ASSIGN_OR_RETURN(const size_t n,
                     sys::write_ready(lane.fd, std::string_view(lane.waiting).substr(lane.written)));
    if (n == 0) return {};
    lane.written += n;
  }
  return {};
}

}  // namespace flurry::transfer
