#pragma once

#include <string>
#include <string_view>

namespace flurry::nix {

// `text` without terminal escape sequences and control characters other than newline and tab: Nix
// colours its messages, and a build's output may hold anything.
std::string strip_ansi(std::string_view text);

}  // namespace flurry::nix
