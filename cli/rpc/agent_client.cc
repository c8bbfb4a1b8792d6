#include "cli/rpc/agent_client.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "cli/rpc/agent_convert.h"
#include "core/sys/clock.h"
#include "core/wire/convert.h"
#include "flurry/v1/agent.grpc.pb.h"

namespace flurry {
namespace {

constexpr uint32_t kProtocol = 1;
// What a call may take longer than the agent's own wait: one round trip over a slow link.
constexpr Millis kRoundTrip{8000};
constexpr int kMessageMax = 4 << 20;
// An agent that is asked too much at once has done nothing of the call.
constexpr Millis kBusyMax{5000};
constexpr Millis kBusyPause{200};

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
    case grpc::StatusCode::OUT_OF_RANGE:
      return {ErrorKind::kNoSpace, text};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return {ErrorKind::kExhausted, text};
    case grpc::StatusCode::FAILED_PRECONDITION:
      return {ErrorKind::kRefused, text};
    default:
      return {ErrorKind::kFailed, text};
  }
}

// An agent that mixes deployments up, or is none.
Result<AgentView> view_of(const v1::Observation& reply, const DeploymentId& deployment) {
  if (reply.known() && reply.deployment() != deployment.str())
    return Error{ErrorKind::kInvalidInput,
                 "the agent answers for another deployment (" + reply.deployment().substr(0, 26) + ")"};
  return to_view(reply);
}

}  // namespace

struct AgentClient::Channel {
  std::shared_ptr<grpc::Channel> channel;  // gRPC's own ownership
  std::unique_ptr<v1::Agent::Stub> stub;

  template <typename Request, typename Reply>
  Result<Reply> call(grpc::Status (v1::Agent::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                     const Request& request, TimePoint deadline) {
    for (const TimePoint give_up = std::min(deadline, sys::now() + kBusyMax);;) {
      grpc::ClientContext context;
      context.set_deadline(wall(deadline));
      Reply reply;
      const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
      if (status.ok()) return reply;
      const bool is_busy = status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
      if (!is_busy || sys::now() + kBusyPause >= give_up) return to_error(status);
      std::this_thread::sleep_for(kBusyPause);
    }
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
  return to_inspection(reply, sys::unix_ms());
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
  return view_of(reply, deployment);
}

Result<AgentView> AgentClient::confirm(const DeploymentId& deployment, const std::string& nonce,
                                       TimePoint deadline) {
  v1::ConfirmRequest request;
  request.set_deployment(deployment.str());
  request.set_nonce(nonce);
  ASSIGN_OR_RETURN(const v1::Observation reply, channel_->call(&v1::Agent::Stub::Confirm, request, deadline));
  return view_of(reply, deployment);
}

Result<std::vector<PastDeployment>> AgentClient::history(uint32_t count, TimePoint deadline) {
  v1::HistoryRequest request;
  request.set_count(count);
  ASSIGN_OR_RETURN(const v1::HistoryReply reply,
                   channel_->call(&v1::Agent::Stub::History, request, deadline));
  return to_history(reply);
}

Result<std::vector<CheckReport>> AgentClient::check(const HealthPolicy& policy, TimePoint deadline) {
  v1::CheckRequest request;
  wire::to_proto(policy, *request.mutable_health());
  ASSIGN_OR_RETURN(const v1::CheckReply reply, channel_->call(&v1::Agent::Stub::Check, request, deadline));
  return to_reports(reply, policy.failed_units);
}

}  // namespace flurry
