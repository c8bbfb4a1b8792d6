#include "core/delta/delta_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/delta/format.h"
#include "core/delta/nar_outline.h"
#include "core/delta/varint.h"
#include "core/delta/zstd_frame.h"
#include "core/nix/wire.h"
#include "core/sys/fd.h"
#include "core/sys/mapped_file.h"

namespace flurry::delta {
namespace {

Error bad(const std::string& what) { return {ErrorKind::kInvalidInput, "delta: " + what}; }

// Bytes that zstd may need for so many bytes of content.
constexpr uint64_t frame_max(uint64_t size) { return size + size / 128 + 1024; }

}  // namespace

class DeltaReader::State {
 public:
  State(std::string base, HashRewriter rewriter, uint64_t nar_size, Input input)
      : base_(std::move(base)),
        rewriter_(std::move(rewriter)),
        nar_size_(nar_size),
        input_(std::move(input)) {}

  Result<size_t> read(std::span<char> buffer) {
    if (!is_begun_) RETURN_IF_ERROR(begin());
    for (;;) {
      if (padding_ > 0) return give_padding(buffer);
      if (out_ < text_end()) return give_text(buffer);
      if (file_ == outline_.holes.size()) return finish();
      if (rest_ == 0 && !is_in_file_) RETURN_IF_ERROR(begin_file());
      if (rest_ > 0) {
        ASSIGN_OR_RETURN(const size_t n, give_content(buffer));
        rest_ -= n;
        if (n > 0) return n;
        continue;
      }
      RETURN_IF_ERROR(end_file());
    }
  }

 private:
  Result<void> begin() {
    is_begun_ = true;
    ASSIGN_OR_RETURN(const uint64_t version, number());
    if (version != kVersion) return bad("it is of another version");
    ASSIGN_OR_RETURN(base_tree_, read_tree(base_));
    std::string prefix = encode_outline(base_tree_.outline);
    rewriter_.rewrite(prefix, true);
    ASSIGN_OR_RETURN(const uint64_t size, number());
    if (size > kOutlineMax + 20 * kFilesMax) return bad("its outline is too long");
    if (size == 0) {
      ASSIGN_OR_RETURN(outline_, decode_outline(prefix));
    } else {
      ASSIGN_OR_RETURN(const std::string frame, take_frame(size));
      std::string text(static_cast<size_t>(size), '\0');
      RETURN_IF_ERROR(frames_.decompress(frame, prefix, text));
      ASSIGN_OR_RETURN(outline_, decode_outline(text));
    }
    if (outline_.nar_size() != nar_size_) return bad("it is of a NAR of another size");
    return {};
  }

  // The delta's bytes.

  // False at its end.
  Result<bool> fill() {
    if (!in_.empty()) return true;
    ASSIGN_OR_RETURN(in_, input_());
    return !in_.empty();
  }

  Result<char> byte() {
    ASSIGN_OR_RETURN(const bool has_more, fill());
    if (!has_more) return bad("it is cut off");
    const char c = in_.front();
    in_.remove_prefix(1);
    return c;
  }

  Result<uint64_t> number() {
    std::string bytes;
    do {
      ASSIGN_OR_RETURN(const char c, byte());
      bytes += c;
    } while ((bytes.back() & 0x80) != 0 && bytes.size() < 10);
    std::string_view all = bytes;
    const auto value = take_varint(all);
    if (!value) return bad("a number is too big");
    return *value;
  }

  // A frame of `content` bytes, behind its own size.
  Result<std::string> take_frame(uint64_t content) {
    ASSIGN_OR_RETURN(uint64_t rest, number());
    if (rest > frame_max(content)) return bad("a frame is too long");
    std::string frame;
    while (rest > 0) {
      ASSIGN_OR_RETURN(const bool has_more, fill());
      if (!has_more) return bad("it is cut off");
      const size_t n = std::min<uint64_t>(rest, in_.size());
      frame += in_.substr(0, n);
      in_.remove_prefix(n);
      rest -= n;
    }
    return frame;
  }

  // The NAR's bytes.

  uint64_t text_end() const {
    return file_ < outline_.holes.size() ? outline_.holes[file_].at : outline_.text.size();
  }

  size_t give_text(std::span<char> buffer) {
    const size_t n = std::min<uint64_t>(buffer.size(), text_end() - out_);
    std::memcpy(buffer.data(), outline_.text.data() + out_, n);
    out_ += n;
    return n;
  }

  size_t give_padding(std::span<char> buffer) {
    const size_t n = std::min(buffer.size(), padding_);
    std::fill_n(buffer.data(), n, '\0');
    padding_ -= n;
    return n;
  }

  Result<size_t> finish() {
    ASSIGN_OR_RETURN(const bool has_more, fill());
    if (has_more || count_ > 0) return bad("it goes on behind its last file");
    return size_t{0};
  }

  // Files.

  Result<void> begin_file();
  Result<void> begin_operation();
  Result<void> end_file();
  Result<size_t> give_content(std::span<char> buffer);
  Result<size_t> give_rewritten(std::span<char> buffer);
  Result<size_t> give_literal(std::span<char> buffer);
  Result<size_t> give_patched(std::span<char> buffer);
  Result<size_t> read_base(std::span<char> buffer);
  Result<void> next_slice();

  const std::string base_;
  const HashRewriter rewriter_;
  const uint64_t nar_size_;
  const Input input_;
  bool is_begun_ = false;
  NarTree base_tree_;
  NarOutline outline_;
  std::string_view in_;  // what is left of the piece that came last
  uint64_t out_ = 0;     // bytes of the outline that were handed out
  size_t padding_ = 0;   // of the last file, not yet handed out

  uint8_t op_ = 0;
  uint64_t count_ = 0;  // files that the operation still covers, with the present one
  size_t next_base_ = 0;
  size_t file_ = 0;          // the present or next one
  bool is_in_file_ = false;  // begun, and not ended
  uint64_t rest_ = 0;        // of its contents
  sys::Fd base_file_;
  uint64_t base_rest_ = 0;  // not yet read of the base's file
  std::string window_;      // kRewrite: what was read; kPatch: a slice
  size_t ready_ = 0;        // bytes of the window that are final
  size_t given_ = 0;        // and of those, that were handed out
  FrameReader frames_;
  FrameReader literals_;
};

Result<void> DeltaReader::State::begin_operation() {
  ASSIGN_OR_RETURN(const char op, byte());
  op_ = static_cast<uint8_t>(op);
  if (op_ < kCopy || op_ > kLiteral) return bad("an operation is unknown");
  if (op_ != kLiteral) {
    ASSIGN_OR_RETURN(const uint64_t distance, number());
    // Wraps around for a hostile one, and is then out of range.
    next_base_ += static_cast<size_t>(unzigzag(distance));
  }
  count_ = 1;
  if (op_ != kPatch) {
    ASSIGN_OR_RETURN(count_, number());
    if (count_ == 0 || count_ > outline_.holes.size() - file_) return bad("it has too many files");
  }
  if (op_ == kLiteral) literals_.begin();
  return {};
}

Result<void> DeltaReader::State::begin_file() {
  if (count_ == 0) RETURN_IF_ERROR(begin_operation());
  is_in_file_ = true;
  rest_ = outline_.holes[file_].size;
  if (op_ == kLiteral) return {};
  if (next_base_ >= base_tree_.files.size()) return bad("the base has no such file");
  const uint64_t base_size = base_tree_.outline.holes[next_base_].size;
  if (op_ != kPatch && base_size != rest_) return bad("the base's file is of another size");
  const std::string& below = base_tree_.files[next_base_];
  const std::string name = below.empty() ? base_ : base_ + "/" + below;
  base_file_ = sys::Fd(::open(name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!base_file_.is_open()) return sys::errno_error("open " + name, errno);
  base_rest_ = base_size;
  window_.clear();
  ready_ = given_ = 0;
  return {};
}

Result<void> DeltaReader::State::end_file() {
  padding_ = nix::padding_of(outline_.holes[file_].size);
  is_in_file_ = false;
  ++file_;
  --count_;
  if (op_ != kLiteral) {
    ++next_base_;
    return {};
  }
  // The frame has an end of its own behind the last byte of its content.
  while (count_ == 0 && !literals_.is_at_end()) {
    ASSIGN_OR_RETURN(const bool has_more, fill());
    if (!has_more) return bad("it is cut off");
    char more = 0;
    const size_t before = in_.size();
    ASSIGN_OR_RETURN(const size_t n, literals_.read(in_, {&more, 1}));
    if (n > 0 || (in_.size() == before && !literals_.is_at_end())) return bad("a file is too long");
  }
  return {};
}

Result<size_t> DeltaReader::State::give_content(std::span<char> buffer) {
  buffer = buffer.first(std::min<uint64_t>(buffer.size(), rest_));
  switch (op_) {
    case kCopy:
      return read_base(buffer);
    case kRewrite:
      return give_rewritten(buffer);
    case kPatch:
      return give_patched(buffer);
    default:
      return give_literal(buffer);
  }
}

Result<size_t> DeltaReader::State::read_base(std::span<char> buffer) {
  buffer = buffer.first(std::min<uint64_t>(buffer.size(), base_rest_));
  ssize_t n = 0;
  do n = ::read(base_file_.get(), buffer.data(), buffer.size());
  while (n < 0 && errno == EINTR);
  if (n < 0) return sys::errno_error("read a file of " + base_, errno);
  if (n == 0) return Error{ErrorKind::kFailed, "a file of " + base_ + " has become shorter"};
  base_rest_ -= static_cast<size_t>(n);
  return static_cast<size_t>(n);
}

Result<size_t> DeltaReader::State::give_rewritten(std::span<char> buffer) {
  while (given_ == ready_) {
    window_.erase(0, ready_);
    const size_t kept = window_.size();
    window_.resize(kept + kPiece);
    ASSIGN_OR_RETURN(const size_t n, read_base(std::span(window_).subspan(kept)));
    window_.resize(kept + n);
    ready_ = rewriter_.rewrite(window_, base_rest_ == 0);
    given_ = 0;
  }
  const size_t n = std::min(buffer.size(), ready_ - given_);
  std::memcpy(buffer.data(), window_.data() + given_, n);
  given_ += n;
  return n;
}

Result<size_t> DeltaReader::State::give_patched(std::span<char> buffer) {
  if (given_ == window_.size()) RETURN_IF_ERROR(next_slice());
  const size_t n = std::min(buffer.size(), window_.size() - given_);
  std::memcpy(buffer.data(), window_.data() + given_, n);
  given_ += n;
  return n;
}

Result<void> DeltaReader::State::next_slice() {
  const uint64_t base_size = base_tree_.outline.holes[next_base_].size;
  ASSIGN_OR_RETURN(const uint64_t from, number());
  ASSIGN_OR_RETURN(const uint64_t size, number());
  if (size > kPrefixMax || from > base_size || size > base_size - from)
    return bad("a part of a base's file is out of its bounds");
  window_.resize(std::min(rest_, kSlice));
  given_ = 0;
  ASSIGN_OR_RETURN(const std::string frame, take_frame(window_.size()));
  const std::string& below = base_tree_.files[next_base_];
  ASSIGN_OR_RETURN(const auto known, sys::MappedFile::open(below.empty() ? base_ : base_ + "/" + below));
  if (known.bytes().size() != base_size)
    return Error{ErrorKind::kFailed, "a file of " + base_ + " has changed its size"};
  return frames_.decompress(frame, known.bytes().substr(from, size), window_);
}

Result<size_t> DeltaReader::State::give_literal(std::span<char> buffer) {
  ASSIGN_OR_RETURN(const bool has_more, fill());
  if (!has_more) return bad("it is cut off");
  if (literals_.is_at_end()) return bad("a frame is too short");
  return literals_.read(in_, buffer);
}

DeltaReader::DeltaReader(std::string base, HashRewriter rewriter, uint64_t nar_size, Input input)
    : state_(std::make_unique<State>(std::move(base), std::move(rewriter), nar_size, std::move(input))) {}
DeltaReader::~DeltaReader() = default;
DeltaReader::DeltaReader(DeltaReader&&) noexcept = default;
DeltaReader& DeltaReader::operator=(DeltaReader&&) noexcept = default;

Result<size_t> DeltaReader::read(std::span<char> buffer) { return state_->read(buffer); }

}  // namespace flurry::delta
