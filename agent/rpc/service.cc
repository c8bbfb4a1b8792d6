#include "agent/rpc/service.h"

#include <algorithm>
#include <vector>

#include "agent/convert.h"
#include "core/wire/convert.h"
#include "core/wire/text.h"

namespace flurry::agent {
namespace {

constexpr uint32_t kProtocol = 1;
constexpr uint32_t kHistoryMax = 100;
constexpr size_t kMessageMax = 2000;
constexpr int kUserProfilesMax = 64;

grpc::StatusCode code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidInput:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case ErrorKind::kUnreachable:
      return grpc::StatusCode::UNAVAILABLE;
    case ErrorKind::kRefused:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case ErrorKind::kTimedOut:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case ErrorKind::kFailed:
      return grpc::StatusCode::INTERNAL;
    case ErrorKind::kNoSpace:
      return grpc::StatusCode::OUT_OF_RANGE;
    // gRPC says the same by itself when it has no thread for a call.
    case ErrorKind::kExhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case ErrorKind::kUnsupported:
      return grpc::StatusCode::UNIMPLEMENTED;
    case ErrorKind::kCancelled:
      return grpc::StatusCode::UNAVAILABLE;
  }
  return grpc::StatusCode::UNKNOWN;
}

grpc::Status status_of(const Error& error) {
  return {code_of(error.kind), wire::clean_text(error.message, kMessageMax)};
}

Error too_many(const std::string& what) {
  return {ErrorKind::kExhausted, "too many " + what + " of this host at once: try again in a moment"};
}

grpc::Status reply_with(const Result<std::optional<Observation>>& found, v1::Observation* reply) {
  if (!found) return status_of(found.error());
  if (*found) to_proto(**found, *reply);
  return grpc::Status::OK;
}

}  // namespace

grpc::Status AgentService::Hello(grpc::ServerContext*, const v1::HelloRequest*, v1::HelloReply* reply) {
  reply->set_protocol(kProtocol);
  reply->set_version(FLURRY_VERSION);
  reply->set_build(build_);
  return grpc::Status::OK;
}

grpc::Status AgentService::Inspect(grpc::ServerContext*, const v1::InspectRequest* request,
                                   v1::InspectReply* reply) {
  if (request->user_profiles_size() > kUserProfilesMax)
    return {grpc::StatusCode::INVALID_ARGUMENT, "too many profiles"};
  std::vector<ProfileRef> profiles;
  for (const auto& profile : request->user_profiles()) {
    auto ref = wire::from_proto(profile);
    if (!ref) return status_of(ref.error());
    profiles.push_back(*std::move(ref));
  }
  const auto place = inspections_.take();
  if (!place) return status_of(too_many("inspections"));
  const auto facts = system_.inspect(profiles, request->generations());
  if (!facts) return status_of(facts.error());
  const auto overview = executor_.overview();
  if (!overview) return status_of(overview.error());
  to_proto(*facts, *reply);
  if (overview->active) to_proto(*overview->active, *reply->mutable_active());
  if (overview->last) to_proto(*overview->last, *reply->mutable_last());
  for (const auto& note : overview->notes) reply->add_notes(wire::clean_text(note, kMessageMax));
  return grpc::Status::OK;
}

grpc::Status AgentService::Begin(grpc::ServerContext*, const v1::BeginRequest* request, v1::BeginReply*) {
  auto spec = wire::from_proto(request->spec());
  if (!spec) return status_of(spec.error());
  const auto begun = executor_.begin(*std::move(spec));
  return begun ? grpc::Status::OK : status_of(begun.error());
}

grpc::Status AgentService::Observe(grpc::ServerContext*, const v1::ObserveRequest* request,
                                   v1::Observation* reply) {
  const auto id = DeploymentId::parse(request->deployment());
  if (!id) return status_of(id.error());
  return reply_with(executor_.observe(*id, request->seen_revision(), Millis(request->wait_ms())), reply);
}

grpc::Status AgentService::Confirm(grpc::ServerContext*, const v1::ConfirmRequest* request,
                                   v1::Observation* reply) {
  const auto id = DeploymentId::parse(request->deployment());
  if (!id) return status_of(id.error());
  return reply_with(executor_.confirm(*id, request->nonce()), reply);
}

grpc::Status AgentService::RollBack(grpc::ServerContext*, const v1::RollBackRequest* request,
                                    v1::RollBackReply*) {
  const auto id = DeploymentId::parse(request->deployment());
  if (!id) return status_of(id.error());
  const auto asked =
      executor_.roll_back(*id, request->nonce(), wire::clean_text(request->reason(), kMessageMax));
  return asked ? grpc::Status::OK : status_of(asked.error());
}

grpc::Status AgentService::Check(grpc::ServerContext* context, const v1::CheckRequest* request,
                                 v1::CheckReply* reply) {
  const auto policy = wire::from_proto(request->health());
  if (!policy) return status_of(policy.error());
  const auto results = checks_.run(policy->checks, [context] { return context->IsCancelled(); });
  if (!results) return status_of(results.error());
  for (size_t i = 0; i < results->size(); ++i) {
    const CheckResult& result = (*results)[i];
    auto* out = reply->add_results();
    out->set_name(policy->checks[i].name);
    out->set_passed(result.passed);
    out->set_required(policy->checks[i].severity == Severity::kRequired);
    out->set_message(wire::clean_text(result.message, kMessageMax));
  }
  const auto facts = system_.inspect({}, false);
  if (!facts) return status_of(facts.error());
  if (!facts->half_switched.empty()) {
    auto* out = reply->add_results();
    out->set_name("system");
    out->set_required(true);
    out->set_message(wire::clean_text(facts->half_switched, kMessageMax));
  }
  for (const auto& unit : facts->state.failed_units) reply->add_failed_units(wire::clean_text(unit, 256));
  return grpc::Status::OK;
}

grpc::Status AgentService::History(grpc::ServerContext*, const v1::HistoryRequest* request,
                                   v1::HistoryReply* reply) {
  const auto deployments = executor_.history(std::clamp(request->count(), 1u, kHistoryMax));
  if (!deployments) return status_of(deployments.error());
  for (const auto& deployment : *deployments) to_proto(deployment, *reply->add_deployments());
  return grpc::Status::OK;
}

}  // namespace flurry::agent
