#include "core/delta/nar_outline.h"

#include "core/delta/varint.h"
#include "core/nix/wire.h"

namespace flurry::delta {
namespace {

Error bad(const std::string& what) { return {ErrorKind::kInvalidInput, "delta: the outline " + what}; }

constexpr uint64_t kNarMax = uint64_t{1} << 44;

}  // namespace

uint64_t NarOutline::nar_size() const {
  uint64_t size = text.size();
  for (const auto& hole : holes) size += hole.size + nix::padding_of(hole.size);
  return size;
}

std::string encode_outline(const NarOutline& outline) {
  std::string out;
  out.reserve(outline.text.size() + 4 * outline.holes.size() + 10);
  put_varint(out, outline.holes.size());
  uint64_t last = 0;
  for (const auto& hole : outline.holes) {
    put_varint(out, hole.at - last);
    put_varint(out, hole.size);
    last = hole.at;
  }
  return out + outline.text;
}

Result<NarOutline> decode_outline(std::string_view bytes) {
  const auto count = take_varint(bytes);
  if (!count || *count > kFilesMax) return bad("has too many files");
  NarOutline out;
  out.holes.reserve(static_cast<size_t>(*count));
  uint64_t at = 0;
  uint64_t total = 0;
  for (uint64_t i = 0; i < *count; ++i) {
    const auto gap = take_varint(bytes);
    const auto size = take_varint(bytes);
    if (!gap || !size) return bad("is cut off");
    if (*gap > kOutlineMax || *size > kNarMax) return bad("has a number that is too big");
    at += *gap;
    total += *size;
    if (total > kNarMax) return bad("is of too much");
    out.holes.push_back({at, *size});
  }
  if (at > bytes.size()) return bad("ends before its last file");
  if (bytes.size() > kOutlineMax) return bad("is too long");
  out.text = bytes;
  return out;
}

}  // namespace flurry::delta
