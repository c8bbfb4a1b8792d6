#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/fleet.h"
#include "core/outcome.h"
#include "core/result.h"
#include "core/time.h"

namespace flurry {

enum class Verb { kDeploy, kBuild, kPush, kPlan, kHosts, kEval, kStatus, kRollback, kCheck, kHelp, kVersion };
enum class OutputFormat { kHuman, kJson };

// What the command line says (CONTRACT section 5).
struct Options {
  Verb verb = Verb::kHelp;
  std::string flake = ".";
  std::vector<std::string> fragment_hosts;  // of FLAKE#h1,h2
  std::string on;                           // --on; empty: all
  size_t parallel = 10;
  OutputFormat output = OutputFormat::kHuman;
  Goal goal = Goal::kSwitch;
  bool magic_rollback = true;
  bool allow_no_rollback = false;
  bool substitute = true;  // false: no host fetches itself, whatever the flake says
  std::optional<Millis> confirm_timeout;
  bool yes = false;
  bool show_trace = false;
  bool impure = false;
  int verbosity = 0;
  std::vector<std::pair<std::string, std::string>> override_inputs;
  std::vector<std::pair<std::string, std::string>> nix_options;  // with --max-jobs, --cores, --builders …
  std::string sign_key;                                          // a file; empty: nothing is signed
  std::optional<FleetSchema> schema;
  size_t eval_memory = 0;                           // bytes; 0: not given
  std::optional<unsigned long long> to_generation;  // rollback --to
  std::string help;                                 // what --help or a bare `flurry` prints; for Verb::kHelp
};

// Parses argv. kInvalidInput: the message says what is wrong, the nearest right spelling, and where
// help is. Never prints and never exits.
Result<Options> parse_options(int argc, const char* const* argv);

}  // namespace flurry
