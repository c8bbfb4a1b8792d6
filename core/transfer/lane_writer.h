#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/transfer/block.h"
#include "core/transfer/frame_stream.h"

namespace flurry::transfer {

// Sends blocks over several channels at once: sshd gives each session channel a window of 2 MiB, so one of
// them carries 2 MiB a round trip whatever the link. While there are lanes, blocks of chunks go over these
// and the main stream says in which order they belong together (kOnLane), and where their frames stand among
// its own (kLaneChunk); the receiver then reads one after the other and needs no buffer for what comes out of
// order. A lane holds at most one block that it hasn't sent yet. Errors are those of FrameStream::send. One
// thread.
class LaneWriter {
 public:
  explicit LaneWriter(FrameStream& main) : main_(main) {}

  // One more lane, a socket that stays the caller's; the receiver knows it by that number.
  void add(uint8_t number, int fd) { lanes_.push_back({number, fd}); }

  bool has_lanes() const { return !lanes_.empty(); }

  // Each says how many bytes that puts on the wire. What goes over a lane is of kNarChunk frames only;
  // whoever sends it says where they stand.
  Result<size_t> send_on_lane(SharedBlock block);
  Result<size_t> send_on_main(const PackedBlock& block);
  // Waits until the lanes have taken all.
  Result<void> flush();

 private:
  struct Lane {
    uint8_t number;
    int fd;
    std::string header = {};
    SharedBlock block = {};  // which goes out after the header; none: the lane is free
    size_t written = 0;      // of both
  };

  std::vector<int> busy_lanes() const;
  Result<void> wait_for_room();
  Result<void> say(std::string_view bytes);
  static Result<void> write(Lane& lane);

  FrameStream& main_;
  std::vector<Lane> lanes_;
  size_t next_ = 0;  // the lane that is asked first, so that all get their share
};

}  // namespace flurry::transfer
