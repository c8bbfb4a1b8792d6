#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace flurry::wire {

// `text` with every byte that is not part of valid UTF-8, and every control character but newline and
// tab, replaced by '?'; cut to its last `max` bytes. A protobuf reader refuses a whole message for less.
std::string clean_text(std::string_view text, size_t max);

}  // namespace flurry::wire
