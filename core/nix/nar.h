#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace flurry::nix {

// NAR, Nix's archive format (Nix: src/libutil/archive.cc; the limits are those of its newest parser).
constexpr std::string_view kNarMagic = "nix-archive-1";
constexpr size_t kNarDepthMax = 64;
constexpr size_t kNarNameMax = 255;
constexpr size_t kNarTargetMax = 4095;

using NarSink = std::function<Result<void>(std::string_view)>;

// Gives the NAR of the file, symlink or directory at `path` to `sink`, in pieces of at most 64 KiB, with
// memory for one piece. Follows no symlink. An error of the sink ends it. kFailed when a file changes its
// size under way, kUnsupported for what is no file, symlink or directory. Any thread.
Result<void> write_nar(const std::string& path, const NarSink& sink);

// Checks a NAR that comes in pieces and finds its end. Accepts exactly what Nix writes: entries sorted
// strictly by bytes, proper names, zero padding. Memory is bounded by depth and name length. Does no I/O.
// After an error it must not be fed any more. One thread.
class NarParser {
 public:
  // A NAR longer than `size_limit` bytes is refused as soon as a length in it promises that.
  explicit NarParser(uint64_t size_limit) : size_limit_(size_limit) {}

  // How many of `bytes` belong to the NAR: all of them, until it is done.
  Result<size_t> feed(std::string_view bytes);
  bool is_done() const { return state_ == State::kDone; }
  uint64_t size() const { return taken_; }

 private:
  // What the next string must be.
  enum class State {
    kMagic,
    kNodeOpen,      // "("
    kTypeTag,       // "type"
    kType,          // "regular", "symlink", "directory"
    kFileTag,       // "executable" or "contents"
    kExecutable,    // ""
    kContentsTag,   // "contents"
    kContents,      // any bytes
    kTargetTag,     // "target"
    kTarget,        // where a symlink points to
    kNodeClose,     // ")" of a file or a symlink
    kEntryOrClose,  // "entry", or ")" of a directory
    kEntryOpen,     // "("
    kNameTag,       // "name"
    kName,
    kNodeTag,     // "node"
    kEntryClose,  // ")"
    kDone,
  };
  enum class Part { kLength, kBody, kPadding };

  Result<void> take_length();
  Result<void> take_string();
  Result<void> take_type();
  Result<void> take_name();
  Result<void> expect(std::string_view wanted, State next);
  Result<void> end_string();
  void end_node();
  Error bad(const std::string& what) const;

  const uint64_t size_limit_;
  uint64_t taken_ = 0;
  State state_ = State::kMagic;
  Part part_ = Part::kLength;
  std::string text_;      // the length's bytes, a string's, or its padding, as far as they came
  uint64_t length_ = 0;   // of the string
  uint64_t rest_ = 0;     // of its body, not yet received
  bool is_last_ = false;  // only padding is missing
  std::vector<std::string> last_names_;  // of the directories that are open, outermost first
};

}  // namespace flurry::nix
