#include "cli/host_runner.h"

#include <algorithm>
#include <functional>

#include "cli/copy/copy.h"
#include "cli/copy/estimate.h"
#include "cli/host_settings.h"
#include "cli/remote_build.h"
#include "cli/settled_inspection.h"
#include "core/sys/clock.h"

namespace flurry {
namespace {

// A dial, an upload of the agent over a slow link, its start.
constexpr Millis kConnectTimeout{120'000};
constexpr Millis kBeginTimeout{30'000};
// A confirmation is one dial and one call; a host that needs longer gets the next try.
constexpr Millis kConfirmTimeout{10'000};
constexpr Millis kReattachTimeout{15'000};
constexpr Millis kObserveWait{2000};
constexpr Millis kEvaluateTimeout{3600'000};
constexpr Millis kBuildTimeout{24 * 3600'000};
constexpr Millis kStoreTimeout{30'000};

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace

HostRunner::HostRunner(RunnerParts parts)
    : parts_(parts),
      hosts_(parts.fleet.hosts.size()),
      builds_(parts.eval_options, parts.fleet.hosts.size(),
              {[this](size_t host, std::string_view line) {
                 parts_.happenings.push(HostLine{host, Stage::kBuild, std::string(line)});
               },
               [this](size_t host, const Result<void>& built) { on_built(host, built); }}) {}

HostRunner::~HostRunner() {
  for (auto& task : tasks_) task.thread.request_stop();
  parts_.happenings.close();
  tasks_.clear();
}

void HostRunner::start(HostAction action) {
  if (std::holds_alternative<action::Evaluate>(action.what)) {
    to_evaluate_.emplace_back(action.host, action.id);
    return;
  }
  const auto* build = std::get_if<action::Build>(&action.what);
  if (build != nullptr && !builds_on_target(action.host)) {
    hosts_[action.host].building = action.id;
    builds_.request(action.host, build->system.profiles);
    return;
  }
  ++hosts_[action.host].holders;
  spawn([this, action = std::move(action)](const std::stop_token& stop) {
    parts_.happenings.push(ActionEnded{action.id, run(action.host, action.what, stop)});
    let_go(action.host);
  });
}

void HostRunner::release(size_t host) {
  // On a thread: the goodbye to a host that doesn't answer takes a moment.
  spawn([this, host](const std::stop_token&) { let_go(host); });
}

void HostRunner::let_go(size_t host) {
  if (--hosts_[host].holders > 0) return;
  hosts_[host].session.reset();
}

void HostRunner::flush() {
  reap();
  if (to_evaluate_.empty()) return;
  spawn([this, wanted = std::exchange(to_evaluate_, {})](std::stop_token stop) { evaluate(wanted, stop); });
}

void HostRunner::spawn(std::function<void(std::stop_token)> work) {
  Task& task = tasks_.emplace_back();
  task.thread = std::jthread([&task, work = std::move(work)](std::stop_token stop) {
    work(stop);
    task.done = true;
  });
}

void HostRunner::reap() {
  std::erase_if(tasks_, [](const Task& task) { return task.done.load(); });
}

Result<ActionValue> HostRunner::run(size_t host, const action::Any& what, const std::stop_token& stop) {
  return std::visit(
      Overloaded{
          [&](const action::Connect&) { return connect(host); },
          [&](const action::Evaluate&) { return Result<ActionValue>(ActionValue{}); },
          [&](const action::Build& build_action) { return build_there(host, build_action.system, stop); },
          [&](const action::Copy& copy_action) { return copy(host, copy_action); },
          [&](const action::Begin& begin_action) { return begin(host, begin_action.spec); },
          [&](const action::Observe& observe_action) { return observe(host, observe_action.seen); },
          [&](const action::Reattach&) { return reattach(host); },
          [&](const action::Confirm& confirm_action) { return confirm(host, confirm_action.nonce); },
      },
      what);
}

Result<void> HostRunner::redial(size_t host, Millis patience, bool is_urgent) {
  hosts_[host].session.reset();
  SeenHostKeys& seen = hosts_[host].seen;
  auto session = HostSession::open(parts_.transport, parts_.fleet.hosts[host], parts_.agent,
                                   {patience, is_urgent, &seen});
  for (auto& text : std::exchange(seen.warnings, {}))
    parts_.happenings.push(HostWarning{host, std::move(text)});
  if (!session) return session.error();
  hosts_[host].session = *std::move(session);
  return {};
}

Result<ActionValue> HostRunner::connect(size_t host) {
  RETURN_IF_ERROR(redial(host, kConnectTimeout, false));
  const TimePoint deadline = sys::now() + kConnectTimeout;
  ASSIGN_OR_RETURN(const Inspection inspection,
                   inspect_settled(hosts_[host].session->agent(), parts_.fleet.hosts[host], deadline));
  return ActionValue(inspection.facts);
}

void HostRunner::evaluate(const std::vector<std::pair<size_t, ActionId>>& wanted, std::stop_token stop) {
  std::vector<size_t> hosts;
  for (const auto& [host, id] : wanted) hosts.push_back(host);
  const auto on_host = [&](size_t host, Result<HostDerivations> derivations) {
    const auto it =
        std::find_if(wanted.begin(), wanted.end(), [host](const auto& w) { return w.first == host; });
    if (derivations)
      parts_.happenings.push(ActionEnded{it->second, ActionValue(*std::move(derivations))});
    else
      parts_.happenings.push(ActionEnded{it->second, derivations.error()});
  };
  parts_.evaluator.evaluate(parts_.fleet, hosts, on_host, sys::now() + kEvaluateTimeout, stop);
}

void HostRunner::on_built(size_t host, const Result<void>& built) {
  if (built)
    parts_.happenings.push(ActionEnded{hosts_[host].building, ActionValue{}});
  else
    parts_.happenings.push(ActionEnded{hosts_[host].building, built.error()});
}

// `flurry build` contacts no host.
bool HostRunner::builds_on_target(size_t host) const {
  return parts_.fleet.hosts[host].build_on == BuildOn::kTarget && parts_.options.goal != Goal::kBuild;
}

Result<ActionValue> HostRunner::build_there(size_t host, const HostDerivations& system,
                                            const std::stop_token& stop) {
  if (parts_.options.only_plan) return ActionValue{};
  auto store = nix::Daemon::connect(sys::now() + kStoreTimeout);
  if (!store) return store.error().with_context("the local Nix store");
  const auto on_line = [&](std::string_view line) {
    parts_.happenings.push(HostLine{host, Stage::kBuild, std::string(line)});
  };
  ASSIGN_OR_RETURN(const std::string settings,
                   nix_config_text(settings_for_hosts(parts_.eval_options.nix_options)));
  for (const auto& profile : system.profiles)
    RETURN_IF_ERROR(build_on_target(*hosts_[host].session, parts_.options.deployment, profile, *store,
                                    settings, parts_.signing_key, on_line, sys::now() + kBuildTimeout, stop));
  return ActionValue{};
}

Result<ActionValue> HostRunner::copy(size_t host, const action::Copy& wanted) {
  if (wanted.only_estimate) return plan(host, wanted);
  if (builds_on_target(host)) return ActionValue{};  // it is there
  HostSession& session = *hosts_[host].session;
  auto store = nix::Daemon::connect(sys::now() + kStoreTimeout);
  if (!store) return store.error().with_context("the local Nix store");
  const TimePoint started = sys::now();
  CopyAccount account;
  CopyState before;  // what the closures before this one came to
  const auto on_progress = [&](const copy::CopyProgress& p) {
    parts_.happenings.push(HostCopying{host,
                                       {before.bytes_total + p.bytes_total, before.bytes_sent + p.bytes_sent,
                                        before.paths_total + p.paths_total, before.paths_done + p.paths_done,
                                        before.wire_bytes + p.wire_bytes}});
  };
  const copy::CopyOptions options{.key = parts_.signing_key,
                                  .bases = wanted.bases,
                                  .shared = hosts_.size() > 1 ? &shared_blocks_ : nullptr,
                                  .substitute = parts_.fleet.hosts[host].substitute_on_target};
  for (const auto& path : wanted.paths) {
    ASSIGN_OR_RETURN(const auto stats,
                     copy::copy_closure(session.connection(), session.agent_commands(),
                                        parts_.options.deployment, path, *store, options, on_progress));
    account.closure_paths += stats.closure_paths;
    account.closure_bytes += stats.closure_bytes;
    account.copied_paths += stats.copied_paths;
    account.copied_bytes += stats.copied_bytes;
    account.delta_paths += stats.delta_paths;
    account.delta_bytes += stats.delta_bytes;
    account.substituted_paths += stats.substituted_paths;
    account.substituted_bytes += stats.substituted_bytes;
    account.wire_bytes += stats.wire_bytes;
    if (!stats.substitution_error.empty())
      parts_.happenings.push(HostLine{
          host, Stage::kCopy, "warning: sent what the host could not fetch: " + stats.substitution_error});
    before = {account.copied_bytes, account.copied_bytes, account.copied_paths, account.copied_paths,
              account.wire_bytes};
  }
  account.elapsed = sys::now() - started;
  parts_.happenings.push(HostCopied{host, account});
  return ActionValue{};
}

Result<ActionValue> HostRunner::plan(size_t host, const action::Copy& wanted) {
  CopyPlan plan{.builds_there = builds_on_target(host)};
  if (!plan.builds_there) {
    HostSession& session = *hosts_[host].session;
    auto store = nix::Daemon::connect(sys::now() + kStoreTimeout);
    if (!store) return store.error().with_context("the local Nix store");
    const copy::CopyOptions options{.bases = wanted.bases,
                                    .shared = hosts_.size() > 1 ? &shared_blocks_ : nullptr,
                                    .substitute = parts_.fleet.hosts[host].substitute_on_target};
    for (const auto& path : wanted.paths) {
      ASSIGN_OR_RETURN(const auto estimate,
                       copy::estimate_copy(session.connection(), session.agent_commands(),
                                           parts_.options.deployment, path, *store, options));
      plan.closure_paths += estimate.closure_paths;
      plan.closure_bytes += estimate.closure_bytes;
      plan.missing_paths += estimate.missing_paths;
      plan.missing_bytes += estimate.missing_bytes;
      plan.substituted_paths += estimate.substituted_paths;
      plan.substituted_bytes += estimate.substituted_bytes;
      plan.wire_bytes += estimate.wire_bytes;
    }
  }
  parts_.happenings.push(HostPlanned{host, plan});
  return ActionValue{};
}

Result<ActionValue> HostRunner::begin(size_t host, const ActivationSpec& spec) {
  RETURN_IF_ERROR(hosts_[host].session->agent().begin(spec, sys::now() + kBeginTimeout));
  return ActionValue{};
}

Result<ActionValue> HostRunner::observe(size_t host, uint64_t seen) {
  ASSIGN_OR_RETURN(const AgentView view,
                   hosts_[host].session->agent().observe(parts_.options.deployment, seen, kObserveWait));
  return ActionValue(view);
}

Result<ActionValue> HostRunner::reattach(size_t host) {
  RETURN_IF_ERROR(redial(host, kReattachTimeout, true));
  ASSIGN_OR_RETURN(const AgentView view,
                   hosts_[host].session->agent().observe(parts_.options.deployment, 0, Millis(0)));
  return ActionValue(view);
}

Result<ActionValue> HostRunner::confirm(size_t host, const std::string& nonce) {
  const TimePoint deadline = sys::now() + kConfirmTimeout;
  RETURN_IF_ERROR(redial(host, kConfirmTimeout, true));
  ASSIGN_OR_RETURN(const AgentView view,
                   hosts_[host].session->agent().confirm(parts_.options.deployment, nonce, deadline));
  return ActionValue(view);
}

}  // namespace flurry
