#include "core/names.h"

#include <algorithm>

namespace flurry {
namespace {

constexpr std::string_view kStoreDir = "/nix/store/";
constexpr std::string_view kNixBase32 = "0123456789abcdfghijklmnpqrsvwxyz";
constexpr std::string_view kCrockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr size_t kHashLength = 32;
constexpr size_t kStoreNameMax = 211;
constexpr size_t kUlidLength = 26;

bool is_alnum(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool all_of(std::string_view text, std::string_view extra) {
  return std::all_of(text.begin(), text.end(),
                     [extra](char c) { return is_alnum(c) || extra.find(c) != std::string_view::npos; });
}

bool all_in(std::string_view text, std::string_view alphabet) {
  return text.find_first_not_of(alphabet) == std::string_view::npos;
}

// Hostile text in a message must not grow or break the message.
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (char c : text.substr(0, 120)) out += (c >= 0x20 && c < 0x7f) ? c : '?';
  return out + (text.size() > 120 ? "...'" : "'");
}

Error invalid(const char* what, std::string_view text, const char* rule) {
  return {ErrorKind::kInvalidInput, std::string(what) + " " + quoted(text) + " " + rule};
}

}  // namespace

Result<HostName> HostName::parse(std::string_view text) {
  if (text.empty() || text.size() > 253) return invalid("host name", text, "must have 1 to 253 bytes");
  if (text.front() == '-' || text.front() == '.')
    return invalid("host name", text, "must not start with '-' or '.'");
  if (!all_of(text, "._-"))
    return invalid("host name", text, "may hold only letters, digits, '.', '_' and '-'");
  return HostName(std::string(text));
}

Result<StorePath> StorePath::parse(std::string_view text) {
  if (!text.starts_with(kStoreDir)) return invalid("store path", text, "must start with /nix/store/");
  const std::string_view base = text.substr(kStoreDir.size());
  if (base.size() < kHashLength + 2 || base[kHashLength] != '-' ||
      !all_in(base.substr(0, kHashLength), kNixBase32))
    return invalid("store path", text, "must have a 32-character hash, '-' and a name");
  const std::string_view name = base.substr(kHashLength + 1);
  if (name.size() > kStoreNameMax || name.front() == '.' || !all_of(name, "+._?=-"))
    return invalid("store path", text, "has a name that Nix does not allow");
  return StorePath(std::string(text));
}

std::string_view StorePath::name() const {
  return std::string_view(text_).substr(kStoreDir.size() + kHashLength + 1);
}

std::string_view StorePath::hash_part() const {
  return std::string_view(text_).substr(kStoreDir.size(), kHashLength);
}

Result<DeploymentId> DeploymentId::parse(std::string_view text) {
  if (text.size() != kUlidLength || !all_in(text, kCrockford) || text.front() > '7')
    return invalid("deployment id", text, "is not a ULID");
  return DeploymentId(std::string(text));
}

DeploymentId DeploymentId::make(unsigned long long unix_ms, const unsigned char (&entropy)[10]) {
  // 130 bits for 128: the first character carries the top three bits only (github.com/ulid/spec).
  std::string text(kUlidLength, '0');
  for (int i = 9; i >= 0; --i, unix_ms >>= 5) text[i] = kCrockford[unix_ms & 31];
  for (int half = 0; half < 2; ++half) {
    unsigned long long bits = 0;
    for (int i = 0; i < 5; ++i) bits = bits << 8 | entropy[half * 5 + i];
    for (int i = 7; i >= 0; --i, bits >>= 5) text[10 + half * 8 + i] = kCrockford[bits & 31];
  }
  return DeploymentId(std::move(text));
}

}  // namespace flurry
