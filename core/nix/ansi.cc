#include "core/nix/ansi.h"

namespace flurry::nix {
namespace {

constexpr char kEscape = '\x1b';
constexpr char kBell = '\a';

// The position after the escape sequence that starts at `at` (ECMA-48: CSI, OSC, two-byte forms).
size_t after_escape(std::string_view text, size_t at) {
  size_t i = at + 1;
  if (i >= text.size()) return i;
  const char kind = text[i++];
  if (kind == '[') {
    while (i < text.size() && text[i] >= 0x20 && text[i] < 0x40) ++i;
    return i < text.size() && text[i] >= 0x40 && text[i] <= 0x7e ? i + 1 : i;
  }
  if (kind == ']') {
    while (i < text.size() && text[i] != kBell && text[i] != kEscape && text[i] != '\n') ++i;
    if (i < text.size() && text[i] == kBell) return i + 1;
    if (i + 1 < text.size() && text[i] == kEscape && text[i + 1] == '\\') return i + 2;
  }
  return i;
}

}  // namespace

std::string strip_ansi(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (text[i] == kEscape) {
      i = after_escape(text, i);
      continue;
    }
    if ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t') out += text[i];
    ++i;
  }
  return out;
}

}  // namespace flurry::nix
