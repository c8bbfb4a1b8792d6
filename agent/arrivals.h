#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "agent/import_convert.h"
#include "core/result.h"
#include "core/transfer/messages.h"

namespace flurry::agent {

// Which paths of a closure are still to come, and from where. Does no I/O.
class Arrivals {
 public:
  // `closure` must outlive it; what isn't among `missing` is there.
  Arrivals(const std::vector<transfer::PathEntry>& closure, std::span<const uint32_t> missing);

  // These of the missing ones are being fetched, and don't come over the stream.
  void fetch(std::span<const uint32_t> indices);
  // They are there, but for those that failed, which come over the stream now.
  void end_fetch(std::span<const uint32_t> failed);

  // The next path of the stream: one that is to come, after all that it refers to. kInvalidInput else.
  Result<void> begin(const IncomingPath& incoming);

  bool awaits_stream() const { return to_come_ > 0; }
  bool is_fetching() const { return fetching_ > 0; }

  // What failed when so many of those that began were stored: the next of them, else the next that would have
  // come; -1 when all has come.
  int64_t failed_after(size_t stored) const;

  // Holds once all is there.
  uint64_t received_paths() const { return begun_.size(); }
  uint64_t received_bytes() const { return received_bytes_; }
  uint64_t fetched_paths() const { return fetched_paths_; }
  uint64_t fetched_bytes() const { return fetched_bytes_; }

 private:
  enum class State : uint8_t { kThere, kToCome, kFetching };

  const std::vector<transfer::PathEntry>& closure_;
  std::vector<State> states_;
  std::vector<uint32_t> begun_;  // of the stream, in its order
  size_t to_come_ = 0;
  size_t fetching_ = 0;
  uint64_t received_bytes_ = 0;
  uint64_t fetched_paths_ = 0;
  uint64_t fetched_bytes_ = 0;
};

}  // namespace flurry::agent
