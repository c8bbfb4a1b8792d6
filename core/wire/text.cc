#include "core/wire/text.h"

#include <algorithm>

namespace flurry::wire {
namespace {

// How many bytes a valid UTF-8 character at the start of `text` has; 0: none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xc2 && lead < 0xe0   ? 2
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4
                                                      : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // Overlong forms, surrogates, and what lies beyond U+10FFFF.
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) >= 0xa0) ||
      (lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) >= 0x90))
    return 0;
  return length;
}

}  // namespace

std::string clean_text(std::string_view text, size_t max) {
  if (text.size() > max) text.remove_prefix(text.size() - max);
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const unsigned char lead = static_cast<unsigned char>(text[0]);
    const bool is_control = length == 1 && (lead < 0x20 || lead == 0x7f) && lead != '\n' && lead != '\t';
    if (length == 0 || is_control)
      out += '?';
    else
      out += text.substr(0, length);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

}  // namespace flurry::wire
