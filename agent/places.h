#pragma once

#include <atomic>
#include <optional>
#include <utility>

namespace flurry::agent {

// How many of something may go on at once. Waits for nothing. Any thread.
class Places {
 public:
  // Held until its end.
  class Place {
   public:
    explicit Place(Places& of) : of_(&of) {}
    Place(Place&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    Place& operator=(Place&& other) noexcept {
      std::swap(of_, other.of_);
      return *this;
    }
    ~Place() {
      if (of_ != nullptr) ++of_->free_;
    }

   private:
    Places* of_;
  };

  explicit Places(int count) : free_(count) {}

  // Nothing: all are taken.
  std::optional<Place> take() {
    for (int free = free_; free > 0;)
      if (free_.compare_exchange_weak(free, free - 1)) return std::make_optional<Place>(*this);
    return std::nullopt;
  }

 private:
  std::atomic<int> free_;
};

}  // namespace flurry::agent
