#pragma once

#include <cstddef>
#include <string_view>

namespace flurry::transfer {

// A login shell may print something before it runs the command that it was given: a greeting of ~/.bashrc,
// the sentence of nologin. So the agent's verbs that speak on their standard output say this first, and the
// controller passes over all that comes before it.
inline constexpr std::string_view kStreamMark = "flurry-stream-begins\n";
inline constexpr size_t kGreetingMax = 64 << 10;

}  // namespace flurry::transfer
