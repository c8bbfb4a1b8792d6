#include "cli/verbs/context.h"

#include <algorithm>

#include "core/selector.h"
#include "core/sys/clock.h"

namespace flurry {
namespace {

// Reading a flake may fetch its inputs.
constexpr Millis kLoadTimeout{1800'000};

// The fragment's names are terms of the same language, joined by "or".
std::string selection_of(const Options& options) {
  std::string fragment;
  for (const auto& host : options.fragment_hosts) fragment += (fragment.empty() ? "" : ",") + host;
  if (fragment.empty()) return options.on;
  if (options.on.empty()) return fragment;
  return "(" + fragment + ")&(" + options.on + ")";
}

}  // namespace

Result<Fleet> load_selected(Context& context) {
  ASSIGN_OR_RETURN(Fleet fleet, context.evaluator.load_fleet(context.options.flake, sys::now() + kLoadTimeout,
                                                             context.interrupted));
  if (!context.options.substitute)
    for (auto& host : fleet.hosts) host.substitute_on_target = false;
  for (const auto& note : doubtful_addresses(fleet)) context.reporter.note(note);
  const std::string text = selection_of(context.options);
  if (text.empty()) return fleet;
  ASSIGN_OR_RETURN(const Selector selector, Selector::parse(text));
  ASSIGN_OR_RETURN(const std::vector<size_t> chosen, selector.select(fleet));
  std::vector<HostConfig> hosts;
  for (const size_t index : chosen) hosts.push_back(fleet.hosts[index]);
  fleet.hosts = std::move(hosts);
  return fleet;
}

Error interruption() { return {ErrorKind::kCancelled, "interrupted: nothing was changed"}; }

int fail_run(Context& context, const Error& error) {
  const bool is_users = error.kind == ErrorKind::kInvalidInput || error.kind == ErrorKind::kUnsupported;
  const int code = error.kind == ErrorKind::kCancelled ? 130 : is_users ? 1 : 2;
  context.reporter.failed(error.message, code);
  return code;
}

}  // namespace flurry
