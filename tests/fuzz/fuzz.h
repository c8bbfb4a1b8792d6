#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/check.h"
#include "core/result.h"

namespace flurry::fuzz {

// What one target does with one input; it aborts where a promise does not hold.
void run_one(std::string_view bytes);

// The input, taken apart from its front. Past its end there are zeros.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  uint8_t byte() {
    const auto one = take(1);
    return one.empty() ? 0 : static_cast<uint8_t>(one[0]);
  }
  uint64_t number(size_t size) {
    uint64_t value = 0;
    while (size-- > 0) value = value << 8 | byte();
    return value;
  }
  std::string_view take(size_t size) {
    const auto taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

// A refusal says why, in a text that the input can't blow up.
inline void check_told(const Error& error, size_t input_size) {
  FLURRY_CHECK(!error.message.empty());
  FLURRY_CHECK(error.message.size() <= 4 * input_size + 4096);
}

inline bool is_ascii_line(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7f; });
}

}  // namespace flurry::fuzz
