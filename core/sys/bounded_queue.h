#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/sys/clock.h"

namespace flurry::sys {

// The only lock in the tree: threads hand each other values through it. push() waits for room, so a
// fast producer is slowed down instead of growing the queue. Any thread may call any method.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  // False, and `value` dropped, when the queue was closed.
  bool push(T value) {
    std::unique_lock lock(mutex_);
    has_room_.wait(lock, [this] { return closed_ || items_.size() < capacity_; });
    if (closed_) return false;
    items_.push_back(std::move(value));
    has_items_.notify_one();
    return true;
  }

  // Everything that is there; waits for at least one item until `deadline` (none: for ever).
  // Empty when the deadline passed or the queue was closed.
  std::vector<T> pop_all(std::optional<TimePoint> deadline) {
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return closed_ || !items_.empty(); };
    if (deadline) {
      const auto left = *deadline - now();
      has_items_.wait_for(lock, left, ready);
    } else {
      has_items_.wait(lock, ready);
    }
    std::vector<T> taken(std::make_move_iterator(items_.begin()), std::make_move_iterator(items_.end()));
    items_.clear();
    has_room_.notify_all();
    return taken;
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    has_items_.notify_all();
    has_room_.notify_all();
  }

 private:
  const size_t capacity_;
  std::mutex mutex_;  // guards everything below
  std::condition_variable has_items_;
  std::condition_variable has_room_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace flurry::sys
