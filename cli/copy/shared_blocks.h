#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/transfer/block_stream.h"

namespace flurry::copy {

// What many hosts get is read, compressed and compared with a base once. Holds the blocks of NARs and the
// deltas that were asked for last, within a bound; a host that comes later than that has them made again. A
// holder of a block keeps it though it is dropped here, hence the shared pointers. `make` only reads files
// and computes, so waits for another thread's end without a deadline. Any thread.
class SharedBlocks {
 public:
  using Block = transfer::SharedBlock;
  using Delta = std::shared_ptr<const std::string>;

  explicit SharedBlocks(size_t bytes_max = kBytesMax) : bytes_max_(bytes_max) {}

  // A block of the path's NAR that is here, or that another thread, which makes the path's blocks one after
  // the other, has made within a moment. Else null: then the caller makes them, see Making.
  Block find(const std::string& path, uint64_t index);

  // The block; calls `make` unless it is here or another thread makes it just now.
  Block get(const std::string& path, uint64_t index, const std::function<transfer::PackedBlock()>& make);

  // The delta of that name; calls `make` unless it is here, or waits for the thread that makes it. Null where
  // `make` gave nothing, and for those that wait for it then.
  Result<Delta> delta(const std::string& name, const std::function<Result<std::string>()>& make);

  // Blocks and deltas that were made.
  uint64_t made() const {
    const std::lock_guard lock(mutex_);
    return made_;
  }

  // For as long as it lives, its thread makes the path's blocks one after the other.
  class Making {
   public:
    Making(SharedBlocks& blocks, std::string path);
    ~Making();
    Making(const Making&) = delete;

   private:
    SharedBlocks& blocks_;
    const std::string path_;
  };

 private:
  static constexpr size_t kBytesMax = 128 << 20;

  struct Entry {
    Block block;
    Delta delta;
    bool is_in_work = true;
    std::list<std::string>::iterator age;  // valid when not in work
  };

  Entry* ready(const std::string& key);
  void settle(const std::string& key, Entry& entry, size_t bytes);
  void drop(const std::string& key);

  const size_t bytes_max_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, size_t> makers_;  // of a path's blocks: how many
  std::list<std::string> ages_;           // keys of what is there, the one that was asked for last in front
  size_t bytes_ = 0;
  uint64_t made_ = 0;
};

}  // namespace flurry::copy
