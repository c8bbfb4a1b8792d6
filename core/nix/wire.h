#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/names.h"
#include "core/result.h"
#include "core/sys/duplex.h"
#include "core/time.h"

namespace flurry::nix {

// The primitives of Nix's protocols (Nix: src/libutil/serialise.{hh,cc}): u64 = 8 bytes little endian,
// also for booleans; str = u64 length, bytes, zeros up to a multiple of 8; set or list = u64 count, items.

// Bounds of what we accept. Far above what Nix sends, far below what would hurt.
constexpr size_t kPathTextMax = 4096;         // a path, a name, a signature
constexpr size_t kMessageTextMax = 16 << 20;  // a log line or an error with its traces
constexpr size_t kPathsMax = 1 << 20;         // paths in one set

void put_u64(std::string& out, uint64_t value);
void put_str(std::string& out, std::string_view text);
void put_strs(std::string& out, std::span<const std::string> items);
void put_paths(std::string& out, std::span<const StorePath> paths);

// Bytes that follow a string of `size` bytes up to the next multiple of 8.
constexpr size_t padding_of(uint64_t size) { return static_cast<size_t>((8 - size % 8) % 8); }

uint64_t load_u64(const char* eight_bytes);

// Reads and writes the primitives over a byte stream. After an error the position in the stream is
// unknown and the object must not be used any more. Errors: kTimedOut; kInvalidInput for bytes that
// break the format or a bound; kFailed when the stream ended. One thread.
class WireStream {
 public:
  explicit WireStream(int fd);

  // All following reads and writes end by it.
  void set_deadline(TimePoint deadline) { deadline_ = deadline; }

  Result<void> send(std::string_view bytes) { return duplex_.send(bytes, deadline_); }

  // Writes as many of the bytes as go; 0 when more was received first.
  Result<size_t> send_some(std::string_view bytes) { return duplex_.send_some(bytes, deadline_); }

  // True when received bytes wait to be read. Does not wait.
  Result<bool> has_input();

  Result<uint64_t> u64();
  // A count or an index that must not exceed `limit`; `what` names it in the error.
  Result<uint64_t> u64_up_to(uint64_t limit, const char* what);
  Result<std::string> str(size_t limit);
  Result<std::vector<std::string>> strs(size_t count_limit, size_t text_limit);
  // A set of store paths, each checked.
  Result<std::vector<StorePath>> paths();
  // A path, or nothing for the empty string.
  Result<std::optional<StorePath>> optional_path();

 private:
  Result<void> need(size_t count);

  sys::Duplex duplex_;
  TimePoint deadline_{};
};

}  // namespace flurry::nix
