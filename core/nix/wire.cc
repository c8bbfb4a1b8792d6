#include "core/nix/wire.h"

#include <algorithm>

namespace flurry::nix {
namespace {

// Replies that came while we were still sending requests.
constexpr size_t kInputLimit = 8 << 20;

Error malformed(const std::string& what) { return {ErrorKind::kInvalidInput, "malformed message: " + what}; }

}  // namespace

void put_u64(std::string& out, uint64_t value) {
  for (int i = 0; i < 8; ++i, value >>= 8) out += static_cast<char>(value & 0xff);
}

void put_str(std::string& out, std::string_view text) {
  put_u64(out, text.size());
  out += text;
  out.append(padding_of(text.size()), '\0');
}

void put_strs(std::string& out, std::span<const std::string> items) {
  put_u64(out, items.size());
  for (const auto& item : items) put_str(out, item);
}

void put_paths(std::string& out, std::span<const StorePath> paths) {
  put_u64(out, paths.size());
  for (const auto& path : paths) put_str(out, path.str());
}

uint64_t load_u64(const char* eight_bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(eight_bytes[i]);
  return value;
}

WireStream::WireStream(int fd) : duplex_(fd, fd, kInputLimit) {}

Result<bool> WireStream::has_input() {
  RETURN_IF_ERROR(duplex_.receive_ready());
  return !duplex_.input().empty();
}

Result<void> WireStream::need(size_t count) {
  while (duplex_.input().size() < count) {
    ASSIGN_OR_RETURN(const bool is_open, duplex_.receive(deadline_));
    if (!is_open) return Error{ErrorKind::kFailed, "the connection ended"};
  }
  return {};
}

Result<uint64_t> WireStream::u64() {
  RETURN_IF_ERROR(need(8));
  const uint64_t value = load_u64(duplex_.input().data());
  duplex_.consume(8);
  return value;
}

Result<uint64_t> WireStream::u64_up_to(uint64_t limit, const char* what) {
  ASSIGN_OR_RETURN(const uint64_t value, u64());
  if (value > limit)
    return malformed(std::string(what) + " is " + std::to_string(value) + ", allowed are " +
                     std::to_string(limit));
  return value;
}

Result<std::string> WireStream::str(size_t limit) {
  ASSIGN_OR_RETURN(const uint64_t size, u64_up_to(limit, "length of a string"));
  std::string text;
  // Memory grows with the bytes that came, not with what the length promised.
  while (text.size() < size) {
    RETURN_IF_ERROR(need(1));
    const auto part = duplex_.input().substr(0, static_cast<size_t>(size) - text.size());
    text += part;
    duplex_.consume(part.size());
  }
  const size_t padding = padding_of(size);
  RETURN_IF_ERROR(need(padding));
  if (duplex_.input().substr(0, padding).find_first_not_of('\0') != std::string_view::npos)
    return malformed("padding of a string is not zero");
  duplex_.consume(padding);
  return text;
}

Result<std::vector<std::string>> WireStream::strs(size_t count_limit, size_t text_limit) {
  ASSIGN_OR_RETURN(const uint64_t count, u64_up_to(count_limit, "number of strings"));
  std::vector<std::string> items;
  while (items.size() < count) {
    ASSIGN_OR_RETURN(std::string item, str(text_limit));
    items.push_back(std::move(item));
  }
  return items;
}

Result<std::vector<StorePath>> WireStream::paths() {
  ASSIGN_OR_RETURN(const uint64_t count, u64_up_to(kPathsMax, "number of paths"));
  std::vector<StorePath> out;
  while (out.size() < count) {
    ASSIGN_OR_RETURN(const std::string text, str(kPathTextMax));
    ASSIGN_OR_RETURN(StorePath path, StorePath::parse(text));
    out.push_back(std::move(path));
  }
  return out;
}

Result<std::optional<StorePath>> WireStream::optional_path() {
  ASSIGN_OR_RETURN(const std::string text, str(kPathTextMax));
  if (text.empty()) return std::optional<StorePath>();
  ASSIGN_OR_RETURN(StorePath path, StorePath::parse(text));
  return std::optional<StorePath>(std::move(path));
}

}  // namespace flurry::nix
