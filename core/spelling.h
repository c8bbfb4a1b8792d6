#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flurry {

// The candidate that `word` was most likely meant to be, or empty when none is near enough: at most
// a third of its letters (and at least one) differ by insertion, deletion, change or swap.
std::string nearest_spelling(std::string_view word, const std::vector<std::string>& candidates);

// " (did you mean 'url'?)", or empty.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

// 'text' for a message: unprintable bytes become '?', long text is cut.
std::string quote(std::string_view text);

}  // namespace flurry
