#include "core/transfer/block.h"

#include "core/check.h"

namespace flurry::transfer {
namespace {

constexpr size_t kLengthSize = 4;
constexpr size_t kSavedMin = 16;  // a sixteenth

Error bad_block(const std::string& why) { return {ErrorKind::kInvalidInput, "a block of the copy " + why}; }

}  // namespace

std::string BlockPacker::pack(std::string_view content, int level) {
  FLURRY_CHECK(content.size() <= kBlockContentMax);
  const auto packed = writer_.compress(content, {}, level);
  if (packed.size() + kLengthSize > content.size() - content.size() / kSavedMin) return {};
  std::string payload;
  payload.reserve(kLengthSize + packed.size());
  size_t size = content.size();
  for (size_t i = 0; i < kLengthSize; ++i, size >>= 8) payload += static_cast<char>(size & 0xff);
  payload += packed;
  return payload;
}

Result<std::string_view> BlockUnpacker::unpack(std::string_view payload) {
  if (payload.size() < kLengthSize) return bad_block("has no length");
  size_t size = 0;
  for (size_t i = kLengthSize; i-- > 0;) size = size << 8 | static_cast<unsigned char>(payload[i]);
  // Before anything is allocated for it.
  if (size == 0 || size > kBlockContentMax)
    return bad_block("has a content of " + std::to_string(size) + " bytes");
  content_.resize(size);
  if (!reader_.decompress(payload.substr(kLengthSize), {}, content_))
    return bad_block("can't be decompressed");
  return std::string_view(content_);
}

}  // namespace flurry::transfer
