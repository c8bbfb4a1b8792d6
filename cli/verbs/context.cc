#include "cli/verbs/context.h"

#include <algorithm>
#include <optional>

#include "core/selector.h"
#include "core/spelling.h"
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

Result<void> leave_out_the_unreachable(Context& context, Fleet& fleet) {
  const auto is_reached = [](const HostConfig& host) { return host.error || !host.target_hosts.empty(); };
  const auto sentence = [](const HostConfig& host) {
    return host.name.str() + ": can't be reached over SSH: deployment.targetHost is null";
  };
  const auto first = std::find_if_not(fleet.hosts.begin(), fleet.hosts.end(), is_reached);
  if (first == fleet.hosts.end()) return {};
  if (std::none_of(fleet.hosts.begin(), fleet.hosts.end(), is_reached))
    return Error{ErrorKind::kInvalidInput,
                 sentence(*first) +
                     "; give it an address, or switch it on the machine itself (colmena "
                     "apply-local, nixos-rebuild switch); flurry build builds it"};
  for (const auto& host : fleet.hosts)
    if (!is_reached(host)) context.reporter.note(sentence(host) + ", so it is left out");
  std::erase_if(fleet.hosts, [&](const HostConfig& host) { return !is_reached(host); });
  return {};
}

// deploy-rs's FLAKE#HOST.PROFILE, which Selector takes for HOST.
Result<void> check_profiles(const Selector& selector, const Fleet& fleet) {
  for (const auto& [index, profile] : selector.profiles(fleet)) {
    const HostConfig& host = fleet.hosts[index];
    if (host.error || (host.profiles.size() == 1 && host.profiles.contains(profile))) continue;
    const std::string& name = host.name.str();
    if (!host.profiles.contains(profile))
      return Error{ErrorKind::kInvalidInput, "no host is named " + quote(name + "." + profile) + ", and " +
                                                 name + " has no profile " + quote(profile)};
    return Error{ErrorKind::kUnsupported, name + "." + profile +
                                              ": one profile of a host can't be chosen alone yet: all of " +
                                              name + "'s belong to one deployment: write " + name};
  }
  return {};
}

}  // namespace

int code_of_errors(const Fleet& fleet) {
  int code = 0;
  for (const auto& host : fleet.hosts)
    if (host.error) code = std::max(code, host.error->kind == ErrorKind::kFailed ? 2 : 1);
  return code;
}

Result<Fleet> load_selected(Context& context, Reach reach) {
  const std::string text = selection_of(context.options);
  std::optional<Selector> selector;
  if (!text.empty()) {
    ASSIGN_OR_RETURN(selector, Selector::parse(text));
  }
  ASSIGN_OR_RETURN(Fleet fleet,
                   context.evaluator.load_hosts(context.options.flake, selector ? &*selector : nullptr,
                                                sys::now() + kLoadTimeout, context.interrupted));
  if (!context.options.substitute)
    for (auto& host : fleet.hosts) host.substitute_on_target = false;
  for (const auto& note : fleet.notes) context.reporter.note(note);
  for (const auto& host : fleet.hosts)
    for (const auto& note : host.notes) context.reporter.note(note);
  if (selector) RETURN_IF_ERROR(check_profiles(*selector, fleet));
  if (reach == Reach::kBySsh) RETURN_IF_ERROR(leave_out_the_unreachable(context, fleet));
  for (const auto& note : doubtful_addresses(fleet)) context.reporter.note(note);
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
