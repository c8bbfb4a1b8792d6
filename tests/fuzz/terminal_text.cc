// Text of hosts and builders on its way to a terminal: valid UTF-8 without controls, cut where told, and
// clean text stays as it is.
#include "cli/report/text.h"
#include "core/nix/ansi.h"
#include "core/wire/text.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

}  // namespace

void run_one(std::string_view bytes) {
  Input input(bytes);
  const size_t max = input.number(2);
  const auto text = input.rest();

  const std::string line = clean_line(text, max);
  FLURRY_CHECK(!has_control(line) && line.size() <= max + 8);
  FLURRY_CHECK(wire::clean_text(line, line.size()) == line);  // valid UTF-8
  FLURRY_CHECK(clean_line(line, line.size() + 1) == line);
  FLURRY_CHECK(columns_of(fit_columns(line, max % 200)) <= max % 200);
  FLURRY_CHECK(clean_lines(text, max % 20).size() <= max % 20);

  const std::string wired = wire::clean_text(text, max);
  FLURRY_CHECK(wired.size() <= max && wire::clean_text(wired, max) == wired);
  const std::string plain = nix::strip_ansi(text);
  FLURRY_CHECK(plain.find('\x1b') == std::string::npos && plain.size() <= text.size());
}

}  // namespace flurry::fuzz
