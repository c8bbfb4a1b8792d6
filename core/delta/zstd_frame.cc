#include "core/delta/zstd_frame.h"

#include <zstd.h>

#include <algorithm>
#include <bit>

#include "core/check.h"
#include "core/delta/format.h"

namespace flurry::delta {
namespace {

constexpr int kReachMin = 17;
// 4 MiB of tables. What zstd chooses by itself at level 1 (2^14) would only know the last bytes of a prefix:
// 43.6 MB instead of 10.6 for 171 MB of updated Debian packages; its long distance matching does as well as
// this, and takes half as much time again.
constexpr int kHashLogMax = 20;

Error bad_frame(size_t code) {
  return {ErrorKind::kInvalidInput, std::string("delta: a zstd frame is bad: ") + ZSTD_getErrorName(code)};
}

void set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  FLURRY_CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)));
}

}  // namespace

void FrameWriter::Free::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }
void FrameReader::Free::operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }

FrameWriter::FrameWriter() : context_(ZSTD_createCCtx()) { FLURRY_CHECK(context_ != nullptr); }
FrameWriter::~FrameWriter() = default;

std::string_view FrameWriter::compress(std::string_view bytes, std::string_view prefix, int level) {
  ZSTD_CCtx_reset(context_.get(), ZSTD_reset_session_and_parameters);
  set(context_.get(), ZSTD_c_compressionLevel, level);
  set(context_.get(), ZSTD_c_checksumFlag, 0);
  if (!prefix.empty()) {
    // So that the first byte of the prefix is in reach of the last one. No receiver needs such a window: it
    // has the prefix, and the whole of the content in one piece.
    const int reach = std::max(kReachMin, static_cast<int>(std::bit_width(bytes.size() + prefix.size())));
    set(context_.get(), ZSTD_c_windowLog, reach);
    set(context_.get(), ZSTD_c_hashLog, std::min(kHashLogMax, reach));
    ZSTD_CCtx_refPrefix(context_.get(), prefix.data(), prefix.size());
  }
  out_.resize(ZSTD_compressBound(bytes.size()));
  const size_t size = ZSTD_compress2(context_.get(), out_.data(), out_.size(), bytes.data(), bytes.size());
  FLURRY_CHECK(!ZSTD_isError(size));
  return std::string_view(out_).substr(0, size);
}

void FrameWriter::begin(uint64_t size, int level) {
  ZSTD_CCtx_reset(context_.get(), ZSTD_reset_session_and_parameters);
  set(context_.get(), ZSTD_c_compressionLevel, level);
  set(context_.get(), ZSTD_c_checksumFlag, 0);
  ZSTD_CCtx_setPledgedSrcSize(context_.get(), size);
  out_.resize(kPiece);
}

Result<void> FrameWriter::stream(std::string_view bytes, bool is_last, const Sink& sink) {
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  for (;;) {
    ZSTD_outBuffer out{out_.data(), out_.size(), 0};
    const size_t rest =
        ZSTD_compressStream2(context_.get(), &out, &in, is_last ? ZSTD_e_end : ZSTD_e_continue);
    // More or less than begin() was told: a file has changed under us.
    if (ZSTD_isError(rest)) return Error{ErrorKind::kFailed, "delta: contents are not of the promised size"};
    if (out.pos > 0) RETURN_IF_ERROR(sink(std::string_view(out_).substr(0, out.pos)));
    if (is_last ? rest == 0 : in.pos == in.size) return {};
  }
}

FrameReader::FrameReader() : context_(ZSTD_createDCtx()) {
  FLURRY_CHECK(context_ != nullptr);
  FLURRY_CHECK(!ZSTD_isError(ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kWindowLogMax)));
}
FrameReader::~FrameReader() = default;

Result<void> FrameReader::decompress(std::string_view frame, std::string_view prefix, std::span<char> out) {
  ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only);
  ZSTD_DCtx_refPrefix(context_.get(), prefix.data(), prefix.size());
  const size_t size = ZSTD_decompressDCtx(context_.get(), out.data(), out.size(), frame.data(), frame.size());
  if (ZSTD_isError(size)) return bad_frame(size);
  if (size != out.size()) return Error{ErrorKind::kInvalidInput, "delta: a zstd frame is too short"};
  return {};
}

void FrameReader::begin() {
  ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only);
  ZSTD_DCtx_refPrefix(context_.get(), nullptr, 0);
  is_at_end_ = false;
}

Result<size_t> FrameReader::read(std::string_view& bytes, std::span<char> out) {
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  const size_t rest = ZSTD_decompressStream(context_.get(), &to, &in);
  if (ZSTD_isError(rest)) return bad_frame(rest);
  bytes.remove_prefix(in.pos);
  is_at_end_ = rest == 0;
  return to.pos;
}

}  // namespace flurry::delta
