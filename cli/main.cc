#include <malloc.h>

#include <cstdint>
#include <cstdio>

#include "cli/options.h"
#include "cli/report/make_reporter.h"
#include "cli/signals.h"
#include "cli/ssh/libssh_transport.h"
#include "cli/verbs/verbs.h"
#include "core/sys/limits.h"
#include "eval/nix_evaluator.h"

namespace flurry {
namespace {

// Lines of build logs and progress of many hosts; a full queue slows their threads down.
constexpr size_t kHappeningsMax = 4096;

int dispatch(Context& context) {
  switch (context.options.verb) {
    case Verb::kDeploy:
    case Verb::kBuild:
    case Verb::kPush:
    case Verb::kPlan:
      return run_deploy(context);
    case Verb::kHosts:
      return run_hosts(context);
    case Verb::kEval:
      return run_eval(context);
    case Verb::kStatus:
      return run_status(context);
    case Verb::kRollback:
      return run_rollback(context);
    case Verb::kCheck:
      return run_check(context);
    case Verb::kHelp:
    case Verb::kVersion:
      break;
  }
  return 1;
}

// Blocks of a copy are as large as this and come from many threads. What they leave behind goes back at once;
// left to itself, the allocator keeps some MiB of it for each host.
void give_large_memory_back() { ::mallopt(M_MMAP_THRESHOLD, 256 << 10); }

int run(int argc, char** argv) {
  sys::keep_memory_private();
  sys::raise_open_files(SIZE_MAX);  // a few for each host; the soft limit is for programs that use select(2)
  give_large_memory_back();
  const auto options = parse_options(argc, argv);
  if (!options) {
    std::fprintf(stderr, "flurry: %s\n", options.error().message.c_str());
    return 1;
  }
  if (options->verb == Verb::kHelp || options->verb == Verb::kVersion) {
    std::printf("%s\n", options->verb == Verb::kHelp ? options->help.c_str() : "flurry " FLURRY_VERSION);
    return 0;
  }
  Happenings happenings(kHappeningsMax);
  const SignalWatcher signals([&] { happenings.push(Interrupted{}); });
  const eval::EvalOptions eval_options{.override_inputs = options->override_inputs,
                                       .nix_options = options->nix_options,
                                       .impure = options->impure,
                                       .show_trace = options->show_trace,
                                       .schema = options->schema,
                                       .memory = options->eval_memory};
  const auto reporter = make_reporter(*options);
  eval::NixEvaluator evaluator(eval_options);
  ssh::LibsshTransport transport({});
  Context context{*options, eval_options, *reporter, transport, evaluator, happenings};
  return dispatch(context);
}

}  // namespace
}  // namespace flurry

int main(int argc, char** argv) { return flurry::run(argc, argv); }
