// What Nix and the builders print: nothing of it but text comes out, and no more than came in.
#include "eval/build_log.h"

#include "eval/nix_command.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

bool is_text(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return (c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t'; });
}

}  // namespace

void run_one(std::string_view bytes) {
  size_t longest = 0;
  const auto on_failure = [&](const eval::BuildFailure& failure) {
    for (const bool is_own : {false, true}) {
      const std::string why = failure.describe(is_own);
      FLURRY_CHECK(why.size() <= 8 * bytes.size() + 256);
    }
  };
  eval::BuildLog log([&](std::string_view line) { longest = std::max(longest, line.size()); }, on_failure);
  for (std::string_view rest = bytes; !rest.empty();) {
    const auto line = rest.substr(0, rest.find('\n'));
    log.take_line(line);
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
  }
  FLURRY_CHECK(longest <= 2 * bytes.size() + 2);
  FLURRY_CHECK(log.last_error().size() <= bytes.size());

  const std::string stripped = eval::strip_escapes(bytes);
  FLURRY_CHECK(is_text(stripped) && stripped.size() <= bytes.size());
  FLURRY_CHECK(eval::strip_escapes(stripped) == stripped);
  for (const bool whole : {false, true}) {
    const std::string message = eval::nix_error_message(bytes, whole);
    FLURRY_CHECK(is_text(message) && message.size() <= 2 * bytes.size() + 256);
  }
}

}  // namespace flurry::fuzz
