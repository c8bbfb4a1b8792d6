#include <algorithm>

#include "core/nix/nar.h"
#include "core/nix/wire.h"

namespace flurry::nix {
namespace {

constexpr size_t kTagMax = 16;  // "nix-archive-1" is the longest tag

}  // namespace

Error NarParser::bad(const std::string& what) const {
  return {ErrorKind::kInvalidInput, "malformed NAR at byte " + std::to_string(taken_) + ": " + what};
}

Result<size_t> NarParser::feed(std::string_view bytes) {
  size_t used = 0;
  while (used < bytes.size() && !is_done()) {
    const size_t wanted = part_ == Part::kLength ? 8 - text_.size()
                          : part_ == Part::kBody ? static_cast<size_t>(std::min<uint64_t>(rest_, SIZE_MAX))
                                                 : padding_of(length_) - text_.size();
    const auto piece = bytes.substr(used, wanted);
    used += piece.size();
    taken_ += piece.size();
    if (taken_ > size_limit_) return bad("longer than announced");
    if (part_ != Part::kBody || state_ != State::kContents) text_ += piece;
    if (part_ == Part::kBody) rest_ -= piece.size();
    if (piece.size() < wanted) break;
    if (part_ == Part::kLength)
      RETURN_IF_ERROR(take_length());
    else if (part_ == Part::kBody)
      RETURN_IF_ERROR(take_string());
    else
      RETURN_IF_ERROR(end_string());
  }
  return used;
}

Result<void> NarParser::take_length() {
  length_ = rest_ = load_u64(text_.data());
  text_.clear();
  const uint64_t limit = state_ == State::kContents ? size_limit_ - taken_
                         : state_ == State::kName   ? kNarNameMax
                         : state_ == State::kTarget ? kNarTargetMax
                                                    : kTagMax;
  if (length_ > limit) return bad("a string of " + std::to_string(length_) + " bytes is too long here");
  part_ = Part::kBody;
  if (length_ == 0) return take_string();
  return {};
}

Result<void> NarParser::expect(std::string_view wanted, State next) {
  if (text_ != wanted) return bad("expected '" + std::string(wanted) + "'");
  state_ = next;
  return {};
}

// The body of a string is complete.
Result<void> NarParser::take_string() {
  Result<void> checked;
  switch (state_) {
    case State::kMagic:
      checked = expect(kNarMagic, State::kNodeOpen);
      break;
    case State::kNodeOpen:
      checked = expect("(", State::kTypeTag);
      break;
    case State::kTypeTag:
      checked = expect("type", State::kType);
      break;
    case State::kType:
      checked = take_type();
      break;
    case State::kFileTag:
      checked = text_ == "executable" ? expect("executable", State::kExecutable)
                                      : expect("contents", State::kContents);
      break;
    case State::kExecutable:
      checked = expect("", State::kContentsTag);
      break;
    case State::kContentsTag:
      checked = expect("contents", State::kContents);
      break;
    case State::kContents:
      state_ = State::kNodeClose;
      break;
    case State::kTargetTag:
      checked = expect("target", State::kTarget);
      break;
    case State::kTarget:
      if (text_.empty() || text_.find('\0') != std::string::npos) return bad("bad target of a symlink");
      state_ = State::kNodeClose;
      break;
    case State::kNodeClose:
      checked = expect(")", State::kNodeClose);
      if (checked) end_node();
      break;
    case State::kEntryOrClose:
      if (text_ == ")") {
        last_names_.pop_back();
        end_node();
      } else {
        checked = expect("entry", State::kEntryOpen);
      }
      break;
    case State::kEntryOpen:
      checked = expect("(", State::kNameTag);
      break;
    case State::kNameTag:
      checked = expect("name", State::kName);
      break;
    case State::kName:
      checked = take_name();
      break;
    case State::kNodeTag:
      checked = expect("node", State::kNodeOpen);
      break;
    case State::kEntryClose:
      checked = expect(")", State::kEntryOrClose);
      break;
    case State::kDone:
      break;
  }
  if (!checked) return checked;
  text_.clear();
  part_ = Part::kPadding;
  // The NAR is over only after the padding of its last string; kDone waits for that in end_string().
  if (padding_of(length_) == 0) return end_string();
  return {};
}

Result<void> NarParser::take_type() {
  if (text_ == "regular") return expect("regular", State::kFileTag);
  if (text_ == "symlink") return expect("symlink", State::kTargetTag);
  if (text_ != "directory") return bad("unknown type of a file");
  if (last_names_.size() >= kNarDepthMax) return bad("directories nested too deeply");
  last_names_.emplace_back();
  state_ = State::kEntryOrClose;
  return {};
}

Result<void> NarParser::take_name() {
  if (text_.empty() || text_ == "." || text_ == ".." || text_.find('/') != std::string::npos ||
      text_.find('\0') != std::string::npos)
    return bad("bad name of a file");
  if (text_ <= last_names_.back()) return bad("names are not sorted");
  last_names_.back() = text_;
  state_ = State::kNodeTag;
  return {};
}

// A node is complete but for its padding: the directory around it goes on, or nothing follows.
void NarParser::end_node() {
  state_ = last_names_.empty() ? State::kNodeClose : State::kEntryClose;
  is_last_ = last_names_.empty();
}

Result<void> NarParser::end_string() {
  if (text_.find_first_not_of('\0') != std::string::npos) return bad("padding is not zero");
  text_.clear();
  part_ = Part::kLength;
  if (is_last_) state_ = State::kDone;
  return {};
}

}  // namespace flurry::nix
