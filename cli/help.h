#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/options.h"

namespace flurry {

// The one table of verbs and options. The parser accepts and the help shows what stands here, so they
// cannot disagree.

struct OptionSpec {
  std::string_view name;    // "parallel"
  char letter;              // 'p', or 0
  std::string_view values;  // "N", or "NAME FLAKE"; one word for each value that it takes
  std::string_view text;    // lines
};

struct ExitCodeSpec {
  int code;
  std::string_view text;
};

struct VerbSpec {
  Verb verb;
  std::string_view name;
  std::string_view summary;               // one line
  std::string_view description;           // 3-6 lines
  std::vector<std::string_view> options;  // names of OptionSpecs
  std::vector<ExitCodeSpec> exit_codes;
  std::vector<std::string_view> examples;
};

constexpr size_t kParallelMax = 1000;

std::span<const OptionSpec> option_table();
// Null when there is none of that name.
const OptionSpec* find_option(std::string_view name);
// The number of values the option takes.
unsigned value_count(const OptionSpec& option);

std::vector<VerbSpec> verb_table();
// Named in the contract and not built yet: "plan", "apply", ...
std::span<const std::string_view> future_verbs();

// `flurry --help`, and `flurry VERB --help`. No newline at the end.
std::string general_help();
std::string verb_help(const VerbSpec& verb);

}  // namespace flurry
