#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "cli/agent_binary.h"
#include "cli/host_runner.h"
#include "cli/host_session.h"
#include "cli/options.h"
#include "cli/reporter.h"
#include "cli/transport.h"
#include "core/fleet.h"
#include "eval/evaluator.h"

namespace flurry {

// What every verb works with; main makes it.
struct Context {
  const Options& options;
  const eval::EvalOptions& eval_options;
  Reporter& reporter;
  Transport& transport;
  eval::Evaluator& evaluator;
  Happenings& happenings;       // signals arrive here
  std::stop_token interrupted;  // and here, from the first one on
};

// Whether a verb speaks with its hosts.
enum class Reach { kNone, kBySsh };

// The fleet of the flake, cut down to what --on and the flake's fragment select. Hosts that no SSH leads to
// are left out of what needs it, and said; an error where nobody else is left.
Result<Fleet> load_selected(Context& context, Reach reach);

// The exit code for what is wrong with these hosts by themselves: 2 where Nix failed, 1 for what the user
// wrote, 0 for nothing.
int code_of_errors(const Fleet& fleet);

// Reports an error that ends the run, and returns its exit code: 1 for what the user wrote, 2 for what
// Nix could not do.
int fail_run(Context& context, const Error& error);

// What a run ends with that the user has interrupted before it changed anything.
Error interruption();

}  // namespace flurry
