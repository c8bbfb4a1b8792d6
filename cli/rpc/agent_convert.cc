#include "cli/rpc/agent_convert.h"

#include <algorithm>

#include "core/wire/convert.h"
#include "flurry/v1/agent.pb.h"

namespace flurry {
namespace {

// What is kept of a host's words: hosts are many, and a message may be 4 MiB.
constexpr size_t kReasonMax = 8 << 10;
constexpr size_t kOutputMax = 16 << 10;  // what the agent itself keeps
constexpr int kHealthMax = 200;
constexpr size_t kHealthLineMax = 1 << 10;
constexpr long long kUnixMsMax = 253'402'300'799'999;  // the last of the year 9999

PastDeployment to_past(const v1::Observation& o) {
  PastDeployment past;
  past.deployment = o.deployment();
  past.who = o.who();
  past.revision = o.flake_revision();
  past.goal = o.goal();
  const auto phase = wire::phase_from(o.phase());
  past.phase = phase ? std::string(to_string(*phase)) : "unknown";
  past.outcome = o.outcome();
  past.reason = o.reason();
  past.from_path = o.from_path();
  past.to_path = o.to_path();
  past.started_unix_ms = o.started_unix_ms();
  past.ended_unix_ms = o.ended_unix_ms();
  for (const auto& change : o.profiles())
    past.changes.push_back({change.name(), change.from_path(), change.to_path(), change.taken_from()});
  return past;
}

}  // namespace

Result<AgentView> to_view(const v1::Observation& o) {
  AgentView view;
  view.known = o.known();
  if (!view.known) return view;
  view.revision = o.revision();
  ASSIGN_OR_RETURN(view.phase, wire::phase_from(o.phase()));
  if (!o.outcome().empty()) {
    view.outcome = parse_outcome(o.outcome());
    if (!view.outcome) return Error{ErrorKind::kInvalidInput, "the agent tells an unknown outcome"};
  }
  if (o.back_from() != v1::PHASE_UNSPECIFIED) {
    ASSIGN_OR_RETURN(view.back_from, wire::phase_from(o.back_from()));
  }
  view.reason = o.reason().substr(0, kReasonMax);
  view.output =
      o.output().size() <= kOutputMax ? o.output() : o.output().substr(o.output().size() - kOutputMax);
  view.remaining = Millis(o.remaining_ms());
  for (int i = 0; i < std::min(o.health_size(), kHealthMax); ++i)
    view.health.push_back(o.health(i).substr(0, kHealthLineMax));
  return view;
}

Result<Inspection> to_inspection(const v1::InspectReply& reply, long long now_unix_ms) {
  Inspection out;
  ASSIGN_OR_RETURN(out.facts.state, wire::from_proto(reply.state()));
  out.facts.system = reply.system();
  if (!reply.wrapped().empty()) {
    ASSIGN_OR_RETURN(auto wrapped, StorePath::parse(reply.wrapped()));
    out.facts.wrapped = std::move(wrapped);
  }
  if (reply.unix_ms() < 0 || reply.unix_ms() > kUnixMsMax)
    return Error{ErrorKind::kInvalidInput, "the host's clock shows no time that there is"};
  out.facts.clock_skew_ms = reply.unix_ms() - now_unix_ms;
  out.facts.half_switched = reply.half_switched();
  out.booted = reply.booted();
  out.reboot_needed = reply.reboot_needed();
  out.system_running = reply.system_running();
  out.store_free_bytes = reply.store_free_bytes();
  if (reply.has_active()) {
    out.active = to_past(reply.active());
    out.facts.held_by = out.active->deployment + " of " + out.active->who + " (" + out.active->phase + ")";
  }
  if (reply.has_last()) out.last = to_past(reply.last());
  out.facts.unknown_users.assign(reply.unknown_users().begin(), reply.unknown_users().end());
  out.notes.assign(reply.notes().begin(), reply.notes().end());
  if (!reply.half_switched().empty()) out.notes.push_back(reply.half_switched() + "; deploy again");
  for (const auto& generation : reply.generations()) {
    ASSIGN_OR_RETURN(StorePath path, StorePath::parse(generation.path()));
    out.generations.push_back(
        {generation.number(), std::move(path), generation.created_unix_ms(), generation.profile()});
  }
  return out;
}

std::vector<PastDeployment> to_history(const v1::HistoryReply& reply) {
  std::vector<PastDeployment> out;
  for (const auto& deployment : reply.deployments()) out.push_back(to_past(deployment));
  return out;
}

std::vector<CheckReport> to_reports(const v1::CheckReply& reply, FailedUnits failed_units) {
  std::vector<CheckReport> out;
  for (const auto& result : reply.results())
    out.push_back({{}, result.name(), result.passed(), result.required(), result.message()});
  const bool units_count = failed_units != FailedUnits::kIgnore;
  if (units_count) {
    std::string names;
    for (const auto& unit : reply.failed_units()) names += (names.empty() ? "" : ", ") + unit;
    // Without a deployment there is no baseline to compare with: told, and not held against the host.
    const bool is_required = failed_units == FailedUnits::kAny;
    out.push_back({{}, "failed units", names.empty(), is_required, names.empty() ? "none" : names});
  }
  return out;
}

}  // namespace flurry
