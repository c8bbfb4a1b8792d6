#include "cli/report/text.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

namespace flurry {
namespace {

constexpr char32_t kInvalid = 0xFFFD;
constexpr std::string_view kCut = "…";

struct Decoded {
  char32_t code;
  size_t length;
};

// The first character of `text`; kInvalid for a byte that begins none.
Decoded decode(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return {kInvalid, 1};
  char32_t code = first & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {kInvalid, 1};
    code = (code << 6) | (byte(i) & 0x3F);
  }
  constexpr std::array<char32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kLeast[length] || is_surrogate || code > 0x10FFFF) return {kInvalid, 1};
  return {code, length};
}

// How many bytes at the start of `text`, which begins with ESC or a C1 introducer, are one sequence.
// `introducer` is what follows the ESC, at `at`.
size_t sequence_length(std::string_view text, char introducer, size_t at) {
  if (introducer == '[') {  // CSI: parameters, then one final byte
    while (at < text.size() && text[at] >= 0x20 && text[at] < 0x40) ++at;
    return at < text.size() && text[at] >= 0x40 && text[at] < 0x7f ? at + 1 : at;
  }
  // OSC, DCS, SOS, PM and APC hold text up to BEL or ST; an unfinished one swallows its line only.
  while (at < text.size() && text[at] != '\a' && text[at] != '\n') {
    if (text[at] == '\x1b') return std::min(at + 2, text.size());
    if (text.substr(at).starts_with("\xc2\x9c")) return at + 2;
    ++at;
  }
  return at < text.size() && text[at] == '\a' ? at + 1 : at;
}

size_t escape_length(std::string_view text) {
  if (text.size() < 2) return text.size();
  const char next = text[1];
  if (std::string_view("[]PX^_").find(next) != std::string_view::npos) return sequence_length(text, next, 2);
  size_t at = 1;
  while (at < text.size() && text[at] >= 0x20 && text[at] < 0x30) ++at;
  return at < text.size() && text[at] >= 0x30 && text[at] < 0x7f ? at + 1 : at;
}

// The C1 control with the same meaning as "ESC introducer", or 0.
char c1_introducer(char32_t code) {
  switch (code) {
    case 0x9B:
      return '[';
    case 0x9D:
      return ']';
    case 0x90:
      return 'P';
    case 0x98:
      return 'X';
    case 0x9E:
      return '^';
    case 0x9F:
      return '_';
    default:
      return 0;
  }
}

bool is_hidden(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x200B && code <= 0x200F) ||
         (code >= 0x202A && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) || code == 0x061C ||
         code == 0xFEFF || (code >= 0xFFF9 && code <= 0xFFFB) || (code >= 0xE0000 && code <= 0xE0FFF);
}

bool is_break(char32_t code) {
  return code == '\t' || code == '\n' || code == '\r' || code == '\v' || code == '\f' || code == 0x85 ||
         code == 0x2028 || code == 0x2029;
}

size_t width_of(char32_t code) {
  const bool is_combining = (code >= 0x300 && code <= 0x36F) || (code >= 0xFE00 && code <= 0xFE0F) ||
                            (code >= 0x20D0 && code <= 0x20FF);
  if (is_combining) return 0;
  const bool is_wide = (code >= 0x1100 && code <= 0x115F) || (code >= 0x2E80 && code <= 0xA4CF) ||
                       (code >= 0xAC00 && code <= 0xD7A3) || (code >= 0xF900 && code <= 0xFAFF) ||
                       (code >= 0xFE30 && code <= 0xFE6F) || (code >= 0xFF00 && code <= 0xFF60) ||
                       (code >= 0xFFE0 && code <= 0xFFE6) || (code >= 0x1F300 && code <= 0x1FAFF) ||
                       (code >= 0x20000 && code <= 0x3FFFD);
  return is_wide ? 2 : 1;
}

std::string two_units(long long large, const char* large_unit, long long small, const char* small_unit) {
  std::array<char, 64> out{};
  std::snprintf(out.data(), out.size(), "%lld%s%02lld%s", large, large_unit, small, small_unit);
  return out.data();
}

}  // namespace

std::string clean_line(std::string_view text, size_t bytes_max) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  std::string out;
  while (!text.empty()) {
    if (out.size() >= bytes_max) return out.append(kCut);
    if (text[0] == '\x1b') {
      text.remove_prefix(escape_length(text));
      continue;
    }
    const auto [code, length] = decode(text);
    if (const char introducer = c1_introducer(code)) {
      text.remove_prefix(sequence_length(text, introducer, length));
      continue;
    }
    if (is_break(code))
      out += ' ';
    else if (code == kInvalid)
      out += "\xEF\xBF\xBD";
    else if (!is_hidden(code))
      out += text.substr(0, length);
    text.remove_prefix(length);
  }
  return out;
}

std::vector<std::string> clean_lines(std::string_view text, size_t lines_max) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.remove_suffix(1);
  std::vector<std::string> lines;
  // From the end, so that only what is kept is looked at.
  while (!text.empty() && lines.size() < lines_max) {
    const size_t at = text.rfind('\n');
    lines.push_back(clean_line(at == std::string_view::npos ? text : text.substr(at + 1)));
    text = at == std::string_view::npos ? std::string_view() : text.substr(0, at);
  }
  std::ranges::reverse(lines);
  return lines;
}

std::string clean_text(std::string_view text) {
  std::string out;
  for (const auto& line : clean_lines(text)) out += (out.empty() ? "" : "\n") + line;
  return out;
}

size_t columns_of(std::string_view clean) {
  size_t columns = 0;
  while (!clean.empty()) {
    const auto [code, length] = decode(clean);
    columns += width_of(code);
    clean.remove_prefix(length);
  }
  return columns;
}

std::string fit_columns(std::string_view clean, size_t columns) {
  if (columns_of(clean) <= columns) return std::string(clean);
  if (columns == 0) return {};
  size_t used = 0;
  size_t end = 0;
  while (end < clean.size()) {
    const auto [code, length] = decode(clean.substr(end));
    if (used + width_of(code) > columns - 1) break;
    used += width_of(code);
    end += length;
  }
  return std::string(clean.substr(0, end)).append(kCut);
}

std::string pad(std::string text, size_t columns) {
  const size_t used = columns_of(text);
  if (used < columns) text.append(columns - used, ' ');
  return text;
}

std::string format_duration(Millis duration) {
  const long long ms = std::max<long long>(duration.count(), 0);
  const long long s = ms / 1000;
  if (s < 10) return std::to_string(s) + "." + std::to_string(ms % 1000 / 100) + "s";
  if (s < 60) return std::to_string(s) + "s";
  if (s < 3600) return two_units(s / 60, "m", s % 60, "s");
  if (s < 86400) return two_units(s / 3600, "h", s % 3600 / 60, "m");
  return two_units(s / 86400, "d", s % 86400 / 3600, "h");
}

std::string format_bytes(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1023.95 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  std::array<char, 32> out{};
  std::snprintf(out.data(), out.size(), "%.1f %s", value, kUnits[unit]);
  return out.data();
}

std::string format_time(long long unix_ms) {
  if (unix_ms <= 0) return "never";
  const std::time_t seconds = unix_ms / 1000;
  std::tm local{};
  std::array<char, 32> out{};
  if (!::localtime_r(&seconds, &local) || !std::strftime(out.data(), out.size(), "%Y-%m-%d %H:%M", &local))
    return "?";
  return out.data();
}

}  // namespace flurry
