#include <malloc.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stop_token>

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

// Who reads our results and has none of them must not take the run for a success. A reader that has read
// enough and left (EPIPE) knows that.
int with_output(int code, int error_number) {
  if (error_number == 0 || error_number == EPIPE) return code;
  std::fprintf(stderr, "flurry: results are lost, stdout can't be written: %s\n",
               std::strerror(error_number));
  return code == 0 ? 1 : code;
}

// The same for what is printed here.
int print(const std::string& text) {
  const bool is_out =
      std::fputs(text.c_str(), stdout) >= 0 && std::fputc('\n', stdout) != EOF && std::fflush(stdout) == 0;
  return with_output(0, is_out ? 0 : errno);
}

int run(int argc, char** argv) {
  sys::keep_memory_private();
  sys::raise_open_files(SIZE_MAX);  // a few for each host; the soft limit is for programs that use select(2)
  give_large_memory_back();
  const auto options = parse_options(argc, argv);
  if (!options) {
    std::fprintf(stderr, "flurry: %s\n", options.error().message.c_str());
    return 1;
  }
  if (options->verb == Verb::kHelp) return print(options->help);
  if (options->verb == Verb::kVersion) return print("flurry " FLURRY_VERSION);
  Happenings happenings(kHappeningsMax);
  std::stop_source interrupted;
  const SignalWatcher signals([&] {
    interrupted.request_stop();
    happenings.push(Interrupted{});
  });
  const eval::EvalOptions eval_options{.override_inputs = options->override_inputs,
                                       .nix_options = options->nix_options,
                                       .impure = options->impure,
                                       .show_trace = options->show_trace,
                                       .schema = options->schema,
                                       .memory = options->eval_memory};
  const auto reporter = make_reporter(*options);
  eval::NixEvaluator evaluator(eval_options);
  ssh::LibsshTransport transport({});
  Context context{*options,   eval_options,           *reporter, transport, evaluator,
                  happenings, interrupted.get_token()};
  const int code = dispatch(context);
  return with_output(code, reporter->lost_output());
}

}  // namespace
}  // namespace flurry

int main(int argc, char** argv) { return flurry::run(argc, argv); }
