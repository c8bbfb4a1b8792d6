#include "cli/report/json_reporter.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "cli/report/human_text.h"
#include "cli/report/summary.h"
#include "cli/report/text.h"
#include "flurry/v1/event.pb.h"

namespace flurry {
namespace {

constexpr Millis kCopyInterval{500};

void fill(const PastDeployment& past, v1::HostStatus::Deployment& out) {
  out.set_deployment(clean_line(past.deployment));
  out.set_who(clean_line(past.who));
  out.set_revision(clean_line(past.revision));
  out.set_phase(clean_line(past.phase));
  out.set_outcome(clean_line(past.outcome));
  out.set_reason(clean_text(past.reason));
  out.set_from_path(clean_line(past.from_path));
  out.set_to_path(clean_line(past.to_path));
  out.set_started_unix_ms(past.started_unix_ms);
  out.set_ended_unix_ms(past.ended_unix_ms);
}

}  // namespace

JsonReporter::JsonReporter(Sink& out, ReportClock clock) : out_(out), clock_(std::move(clock)) {}

void JsonReporter::write(v1::Event event) {
  event.set_unix_ms(clock_.unix_ms());
  event.set_deployment(deployment_);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string line;
  // All text in it was cleaned, so it is valid UTF-8 and this cannot fail.
  if (!google::protobuf::util::MessageToJsonString(event, &line, options).ok()) return;
  out_.write(line + "\n");
}

void JsonReporter::started(const DeploymentInfo& info) {
  deployment_ = clean_line(info.deployment);
  v1::Event event;
  auto& out = *event.mutable_deployment_started();
  out.set_flake(clean_line(info.flake));
  out.set_revision(clean_line(info.revision));
  out.set_goal(info.only_plan ? "plan" : std::string(to_string(info.goal)));
  out.set_who(clean_line(info.who));
  for (const auto& host : info.hosts) out.add_hosts(clean_line(host));
  write(std::move(event));
  if (!info.magic_rollback) note(kNoMagicRollback);
}

void JsonReporter::stage(const std::string& host, Stage stage) {
  v1::Event event;
  event.mutable_host_stage()->set_host(clean_line(host));
  event.mutable_host_stage()->set_stage(std::string(to_string(stage)));
  write(std::move(event));
}

void JsonReporter::log(const std::string& host, Stage stage, std::string_view line) {
  v1::Event event;
  event.mutable_host_log()->set_host(clean_line(host));
  event.mutable_host_log()->set_stage(std::string(to_string(stage)));
  event.mutable_host_log()->set_line(clean_line(line));
  write(std::move(event));
}

void JsonReporter::copying(const std::string& host, const CopyState& state) {
  const TimePoint now = clock_.now();
  const auto [said, is_first] = copy_said_.emplace(host, now);
  // The end of a copy is never left out.
  const bool is_whole =
      state.bytes_total > 0 && state.bytes_sent >= state.bytes_total && state.paths_done >= state.paths_total;
  if (!is_first && !is_whole && now - said->second < kCopyInterval) return;
  said->second = now;
  v1::Event event;
  auto& out = *event.mutable_copy_progress();
  out.set_host(clean_line(host));
  out.set_bytes_total(state.bytes_total);
  out.set_bytes_sent(state.bytes_sent);
  out.set_paths_total(state.paths_total);
  out.set_paths_done(state.paths_done);
  out.set_wire_bytes(state.wire_bytes);
  write(std::move(event));
}

void JsonReporter::planned(const std::string& host, const CopyPlan& plan) {
  v1::Event event;
  auto& out = *event.mutable_host_planned();
  out.set_host(clean_line(host));
  out.set_builds_there(plan.builds_there);
  out.set_closure_paths(plan.closure_paths);
  out.set_closure_bytes(plan.closure_bytes);
  out.set_missing_paths(plan.missing_paths);
  out.set_missing_bytes(plan.missing_bytes);
  out.set_substituted_paths(plan.substituted_paths);
  out.set_substituted_bytes(plan.substituted_bytes);
  out.set_wire_bytes(plan.wire_bytes);
  write(std::move(event));
}

void JsonReporter::copied(const std::string& host, const CopyAccount& account) {
  v1::Event event;
  auto& out = *event.mutable_host_copied();
  out.set_host(clean_line(host));
  out.set_closure_paths(account.closure_paths);
  out.set_closure_bytes(account.closure_bytes);
  out.set_copied_paths(account.copied_paths);
  out.set_copied_bytes(account.copied_bytes);
  out.set_delta_paths(account.delta_paths);
  out.set_delta_bytes(account.delta_bytes);
  out.set_wire_bytes(account.wire_bytes);
  out.set_substituted_paths(account.substituted_paths);
  out.set_substituted_bytes(account.substituted_bytes);
  out.set_elapsed_ms(static_cast<uint64_t>(std::max<long long>(account.elapsed.count(), 0)));
  write(std::move(event));
}

void JsonReporter::ended(const std::string& host, const HostResult& result, Millis elapsed) {
  v1::Event event;
  auto& out = *event.mutable_host_ended();
  out.set_host(clean_line(host));
  out.set_outcome(std::string(to_string(result.outcome)));
  if (!is_good(result.outcome) && result.stage != Stage::kEnded)
    out.set_stage(std::string(to_string(result.stage)));
  out.set_reason(clean_text(result.reason));
  out.set_output(clean_text(result.output));
  out.set_from_path(clean_line(result.from_path));
  out.set_to_path(clean_line(result.to_path));
  out.set_elapsed_ms(static_cast<uint64_t>(std::max<long long>(elapsed.count(), 0)));
  if (result.proof) out.set_health(to_string(*result.proof));
  copy_said_.erase(host);
  write(std::move(event));
}

void JsonReporter::finished(const std::vector<HostResult>& results, int exit_code, Millis elapsed) {
  v1::Event event;
  auto& out = *event.mutable_deployment_ended();
  out.set_exit_code(exit_code);
  for (const auto& result : results) ++(*out.mutable_outcomes())[std::string(to_string(result.outcome))];
  out.set_elapsed_ms(static_cast<uint64_t>(std::max<long long>(elapsed.count(), 0)));
  write(std::move(event));
}

void JsonReporter::listed(const HostListing& listing) {
  v1::Event event;
  auto& out = *event.mutable_host_listed();
  out.set_host(clean_line(listing.host));
  for (const auto& address : listing.addresses) out.add_addresses(clean_line(address));
  out.set_user(clean_line(listing.user));
  out.set_port(listing.port.value_or(0));
  for (const auto& tag : listing.tags) out.add_tags(clean_line(tag));
  for (const auto& profile : listing.profiles) {
    auto& one = *out.add_profiles();
    one.set_name(clean_line(profile.name));
    one.set_user(clean_line(profile.user));
  }
  for (const auto& check : listing.checks) out.add_checks(clean_line(check));
  for (const auto& needed : listing.requires_hosts) out.add_required_hosts(clean_line(needed));
  out.set_error(clean_text(listing.error));
  write(std::move(event));
}

void JsonReporter::evaluated(const EvaluationReport& report) {
  v1::Event event;
  auto& out = *event.mutable_host_evaluated();
  out.set_host(clean_line(report.host));
  out.set_error(clean_text(report.error));
  for (const auto& profile : report.profiles) {
    auto& entry = *out.add_profiles();
    entry.set_profile(clean_line(profile.name));
    entry.set_drv(clean_line(profile.drv));
    entry.set_out(clean_line(profile.out));
  }
  write(std::move(event));
}

void JsonReporter::status(const StatusReport& report) {
  v1::Event event;
  auto& out = *event.mutable_host_status();
  out.set_host(clean_line(report.host));
  out.set_error(clean_text(report.error));
  if (report.state.running) out.set_running(report.state.running->str());
  for (const auto& [name, held] : report.state.user_profiles) {
    auto& profile = *out.add_user_profiles();
    profile.set_name(name);
    if (held.path) profile.set_path(held.path->str());
    profile.set_generation(held.generation.value_or(0));
    profile.set_is_unactivated(!held.is_activated);
    const auto wanted = report.desired_profiles.find(name);
    if (wanted != report.desired_profiles.end()) profile.set_desired(wanted->second);
  }
  if (report.state.profile) out.set_profile(report.state.profile->str());
  out.set_generation(report.state.generation.value_or(0));
  out.set_booted(clean_line(report.booted));
  out.set_desired(clean_line(report.desired));
  out.set_drift(std::string(drift_of(report)));
  out.set_reboot_needed(report.reboot_needed);
  for (const auto& unit : report.state.failed_units) out.add_failed_units(clean_line(unit));
  out.set_system_running(clean_line(report.system_running));
  out.set_agent_version(clean_line(report.agent_version));
  if (report.active) fill(*report.active, *out.mutable_active());
  if (report.last) fill(*report.last, *out.mutable_last());
  for (const auto& note : report.notes) out.add_notes(clean_line(note));
  write(std::move(event));
}

void JsonReporter::checked(const CheckReport& report) {
  v1::Event event;
  auto& out = *event.mutable_check_result();
  out.set_host(clean_line(report.host));
  out.set_check(clean_line(report.check));
  out.set_passed(report.passed);
  out.set_required(report.required);
  out.set_message(clean_text(report.message));
  write(std::move(event));
}

void JsonReporter::note(std::string_view text) {
  v1::Event event;
  event.mutable_host_log()->set_line(clean_text(text));
  write(std::move(event));
}

void JsonReporter::failed(std::string_view message, int exit_code) {
  v1::Event event;
  event.mutable_failure()->set_message(clean_text(message));
  event.mutable_failure()->set_exit_code(exit_code);
  write(std::move(event));
}

void JsonReporter::tick(TimePoint) {}

}  // namespace flurry
