#include "cli/rpc/agent_client.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>

#include <chrono>

#include "core/sys/clock.h"
#include "core/wire/convert.h"
#include "flurry/v1/agent.grpc.pb.h"

namespace flurry {
namespace {

constexpr uint32_t kProtocol = 1;
// What a call may take longer than the agent's own wait: one round trip over a slow link.
constexpr Millis kRoundTrip{8000};
constexpr int kMessageMax = 4 << 20;

std::chrono::system_clock::time_point wall(TimePoint deadline) {
  return std::chrono::system_clock::now() + (deadline - sys::now());
}

Error to_error(const grpc::Status& status) {
  const std::string text = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:
      return {ErrorKind::kUnreachable, "the connection to the agent was lost: " + text};
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {ErrorKind::kTimedOut, "the agent did not answer in time"};
    case grpc::StatusCode::INVALID_ARGUMENT:
      return {ErrorKind::kInvalidInput, text};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {ErrorKind::kUnsupported, text};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return {ErrorKind::kNoSpace, text};
    case grpc::StatusCode::FAILED_PRECONDITION:
      return {ErrorKind::kRefused, text};
    default:
      return {ErrorKind::kFailed, text};
  }
}

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
  return past;
}

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
  view.reason = o.reason();
  view.output = o.output();
  view.remaining = Millis(o.remaining_ms());
  view.health.assign(o.health().begin(), o.health().end());
  return view;
}

Result<Inspection> to_inspection(const v1::InspectReply& reply) {
  Inspection out;
  ASSIGN_OR_RETURN(out.facts.state, wire::from_proto(reply.state()));
  out.facts.system = reply.system();
  out.facts.clock_skew_ms = reply.unix_ms() - sys::unix_ms();
  out.booted = reply.booted();
  out.reboot_needed = reply.reboot_needed();
  out.system_running = reply.system_running();
  out.store_free_bytes = reply.store_free_bytes();
  if (reply.has_active()) {
    out.active = to_past(reply.active());
    out.facts.held_by = out.active->deployment + " of " + out.active->who + " (" + out.active->phase + ")";
  }
  if (reply.has_last()) out.last = to_past(reply.last());
  out.notes.assign(reply.notes().begin(), reply.notes().end());
  for (const auto& generation : reply.generations()) {
    ASSIGN_OR_RETURN(StorePath path, StorePath::parse(generation.path()));
    out.generations.push_back({generation.number(), std::move(path), generation.created_unix_ms()});
  }
  return out;
}

}  // namespace

struct AgentClient::Channel {
  std::shared_ptr<grpc::Channel> channel;  // gRPC's own ownership
  std::unique_ptr<v1::Agent::Stub> stub;

  template <typename Request, typename Reply>
  Result<Reply> call(grpc::Status (v1::Agent::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                     const Request& request, TimePoint deadline) {
    grpc::ClientContext context;
    context.set_deadline(wall(deadline));
    Reply reply;
    const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
    if (!status.ok()) return to_error(status);
    return reply;
  }
};

AgentClient::AgentClient(std::unique_ptr<Channel> channel) : channel_(std::move(channel)) {}
AgentClient::~AgentClient() = default;

Result<std::unique_ptr<AgentClient>> AgentClient::connect(sys::Fd stream, TimePoint deadline) {
  ::fcntl(stream.get(), F_SETFL, ::fcntl(stream.get(), F_GETFL) | O_NONBLOCK);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMessageMax);
  // Each host has a stream of its own; a shared pool of connections would mix them up.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto channel = std::make_unique<Channel>();
  channel->channel = grpc::CreateCustomInsecureChannelFromFd("flurry-agent", stream.release(), arguments);
  channel->stub = v1::Agent::NewStub(channel->channel);
  std::unique_ptr<AgentClient> client(new AgentClient(std::move(channel)));

  v1::HelloRequest request;
  request.set_protocol(kProtocol);
  ASSIGN_OR_RETURN(const v1::HelloReply reply,
                   client->channel_->call(&v1::Agent::Stub::Hello, request, deadline));
  if (reply.protocol() != kProtocol)
    return Error{ErrorKind::kUnsupported, "the host's agent " + reply.version() + " speaks protocol " +
                                              std::to_string(reply.protocol()) + ", this flurry speaks " +
                                              std::to_string(kProtocol) +
                                              "; use the flurry that deployed last"};
  client->version_ = reply.version();
  return client;
}

Result<Inspection> AgentClient::inspect(const std::vector<ProfileRef>& profiles, bool with_generations,
                                        TimePoint deadline) {
  v1::InspectRequest request;
  for (const auto& profile : profiles)
    if (!profile.is_system()) wire::to_proto(profile, *request.add_user_profiles());
  request.set_generations(with_generations);
  ASSIGN_OR_RETURN(const v1::InspectReply reply,
                   channel_->call(&v1::Agent::Stub::Inspect, request, deadline));
  return to_inspection(reply);
}

Result<void> AgentClient::begin(const ActivationSpec& spec, TimePoint deadline) {
  v1::BeginRequest request;
  wire::to_proto(spec, *request.mutable_spec());
  RETURN_IF_ERROR(channel_->call(&v1::Agent::Stub::Begin, request, deadline));
  return {};
}

Result<AgentView> AgentClient::observe(const DeploymentId& deployment, uint64_t seen, Millis wait) {
  v1::ObserveRequest request;
  request.set_deployment(deployment.str());
  request.set_seen_revision(seen);
  request.set_wait_ms(static_cast<uint32_t>(wait.count()));
  ASSIGN_OR_RETURN(const v1::Observation reply,
                   channel_->call(&v1::Agent::Stub::Observe, request, sys::now() + wait + kRoundTrip));
  return to_view(reply);
}

Result<AgentView> AgentClient::confirm(const DeploymentId& deployment, const std::string& nonce,
                                       TimePoint deadline) {
  v1::ConfirmRequest request;
  request.set_deployment(deployment.str());
  request.set_nonce(nonce);
  ASSIGN_OR_RETURN(const v1::Observation reply, channel_->call(&v1::Agent::Stub::Confirm, request, deadline));
  return to_view(reply);
}

Result<std::vector<CheckReport>> AgentClient::check(const HealthPolicy& policy, TimePoint deadline) {
  v1::CheckRequest request;
  wire::to_proto(policy, *request.mutable_health());
  ASSIGN_OR_RETURN(const v1::CheckReply reply, channel_->call(&v1::Agent::Stub::Check, request, deadline));
  std::vector<CheckReport> out;
  for (const auto& result : reply.results())
    out.push_back({{}, result.name(), result.passed(), result.required(), result.message()});
  const bool units_count = policy.failed_units != FailedUnits::kIgnore;
  if (units_count) {
    std::string names;
    for (const auto& unit : reply.failed_units()) names += (names.empty() ? "" : ", ") + unit;
    // Without a deployment there is no baseline to compare with: told, and not held against the host.
    const bool is_required = policy.failed_units == FailedUnits::kAny;
    out.push_back({{}, "failed units", names.empty(), is_required, names.empty() ? "none" : names});
  }
  return out;
}

}  // namespace flurry
