#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/time.h"

namespace flurry {

constexpr size_t kLineBytesMax = 2000;
constexpr size_t kTextLinesMax = 500;

// One line that is safe to print: escape sequences and control characters (of C0, C1 and the kind that
// reverse the direction of text) are gone, tabs and line breaks are spaces, invalid UTF-8 is U+FFFD, and
// what is longer than `bytes_max` is cut with "…". The result is valid UTF-8.
std::string clean_line(std::string_view text, size_t bytes_max = kLineBytesMax);

// The same for text of many lines. Of more than `lines_max` the last ones are kept; empty lines at the
// end are dropped.
std::vector<std::string> clean_lines(std::string_view text, size_t lines_max = kTextLinesMax);

// Joined again by '\n', for where a program reads it.
std::string clean_text(std::string_view text);

// How many columns a terminal gives to clean text.
size_t columns_of(std::string_view clean);

// At most `columns` wide; what is cut ends with "…".
std::string fit_columns(std::string_view clean, size_t columns);

// Fills up with spaces.
std::string pad(std::string text, size_t columns);

// "0.4s", "12s", "3m05s", "2h07m", "3d04h".
std::string format_duration(Millis duration);

// "512 B", "1.5 MiB".
std::string format_bytes(uint64_t bytes);

// "2026-03-01 14:05" in local time, or "never".
std::string format_time(long long unix_ms);

}  // namespace flurry
