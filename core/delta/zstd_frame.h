#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace flurry::delta {

// zstd frames (RFC 8878), with bytes that both sides have as their prefix. One thread an object.
class FrameWriter {
 public:
  FrameWriter();
  ~FrameWriter();
  FrameWriter(const FrameWriter&) = delete;
  FrameWriter& operator=(const FrameWriter&) = delete;

  // One frame of all of `bytes`; valid until the next call.
  std::string_view compress(std::string_view bytes, std::string_view prefix, int level);

  // A frame of pieces that are `size` bytes together: begin(), then add() and at last end(). What there is to
  // send goes to `sink`.
  using Sink = std::function<Result<void>(std::string_view)>;
  void begin(uint64_t size, int level);
  Result<void> add(std::string_view bytes, const Sink& sink) { return stream(bytes, false, sink); }
  Result<void> end(const Sink& sink) { return stream({}, true, sink); }

 private:
  Result<void> stream(std::string_view bytes, bool is_last, const Sink& sink);

  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
  std::string out_;
};

class FrameReader {
 public:
  FrameReader();
  ~FrameReader();
  FrameReader(const FrameReader&) = delete;
  FrameReader& operator=(const FrameReader&) = delete;

  // The frame's content, which must be as long as `out`. kInvalidInput.
  Result<void> decompress(std::string_view frame, std::string_view prefix, std::span<char> out);

  // A frame in pieces: begin(), then read() until is_at_end().
  void begin();
  // Takes what it can off the front of `bytes` and returns how many bytes of content came out. kInvalidInput.
  Result<size_t> read(std::string_view& bytes, std::span<char> out);
  bool is_at_end() const { return is_at_end_; }

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
  bool is_at_end_ = false;
};

}  // namespace flurry::delta
