#include "cli/rpc/agent_client.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>

#include "core/sys/clock.h"
#include "flurry/v1/agent.grpc.pb.h"

namespace flurry {
namespace {

constexpr Millis kPatience{20'000};

// What another version of flurry left running on a host.
class OtherAgent : public v1::Agent::Service {
 public:
  explicit OtherAgent(uint32_t protocol) : protocol_(protocol) {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }

  // A stream that leads to it.
  sys::Fd stream() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    grpc::AddInsecureChannelFromFd(server_.get(), ends[1]);
    return sys::Fd(ends[0]);
  }

  grpc::Status Hello(grpc::ServerContext*, const v1::HelloRequest*, v1::HelloReply* reply) override {
    reply->set_protocol(protocol_);
    reply->set_version("0.0.7");
    return grpc::Status::OK;
  }
  grpc::Status Check(grpc::ServerContext*, const v1::CheckRequest*, v1::CheckReply*) override {
    return ++asked < busy_until ? grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too much at once")
                                : grpc::Status::OK;
  }
  std::atomic<int> asked = 0;
  std::atomic<int> busy_until = 0;

  // Tells of `told_of`, whatever was asked for.
  grpc::Status Observe(grpc::ServerContext*, const v1::ObserveRequest*, v1::Observation* reply) override {
    reply->set_known(true);
    reply->set_deployment(told_of);
    reply->set_phase(v1::PHASE_CHECKING);
    reply->set_reason(std::string(1 << 20, 'r'));
    return grpc::Status::OK;
  }
  grpc::Status Confirm(grpc::ServerContext* context, const v1::ConfirmRequest*,
                       v1::Observation* reply) override {
    return Observe(context, nullptr, reply);
  }

  std::string told_of;

 private:
  const uint32_t protocol_;
  std::unique_ptr<grpc::Server> server_;
};

TEST(AgentClient, SpeaksWithAnAgentOfItsOwnProtocol) {
  OtherAgent agent(1);
  const auto client = AgentClient::connect(agent.stream(), sys::now() + kPatience);
  ASSERT_TRUE(client) << client.error().message;
  EXPECT_EQ((*client)->version(), "0.0.7");
}

// Trap 22.
TEST(AgentClient, RefusesAnAgentOfAnotherProtocolAndSaysWhatToDo) {
  for (const uint32_t protocol : {0u, 2u}) {
    OtherAgent agent(protocol);
    const auto client = AgentClient::connect(agent.stream(), sys::now() + kPatience);
    ASSERT_FALSE(client) << protocol;
    EXPECT_EQ(client.error().kind, ErrorKind::kUnsupported);
    EXPECT_EQ(client.error().message, "the host's agent 0.0.7 speaks protocol " + std::to_string(protocol) +
                                          ", this flurry speaks 1; use the flurry that deployed last");
  }
}

TEST(AgentClient, BelievesNoAnswerAboutAnotherDeployment) {
  OtherAgent agent(1);
  const auto client = AgentClient::connect(agent.stream(), sys::now() + kPatience);
  ASSERT_TRUE(client) << client.error().message;
  const auto ours = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV");
  agent.told_of = ours.str();
  const auto view = (*client)->observe(ours, 0, Millis(0));
  ASSERT_TRUE(view) << view.error().message;
  EXPECT_LE(view->reason.size(), 8u << 10) << "what is kept of a host's words is bounded";
  agent.told_of = "01ARYZ6S41TSV4RRFFQ69G5FAW";
  for (const auto& answer :
       {(*client)->observe(ours, 0, Millis(0)), (*client)->confirm(ours, "nonce", sys::now() + kPatience)}) {
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::kInvalidInput) << answer.error().message;
  }
}

TEST(AgentClient, AsksABusyAgentAgainForAWhile) {
  OtherAgent agent(1);
  agent.busy_until = 3;
  const auto client = AgentClient::connect(agent.stream(), sys::now() + kPatience);
  ASSERT_TRUE(client) << client.error().message;
  EXPECT_TRUE((*client)->check({}, sys::now() + kPatience));
  EXPECT_EQ(agent.asked, 3);
  agent.busy_until = 1000;
  const auto refused = (*client)->check({}, sys::now() + Millis(700));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kExhausted);
  EXPECT_EQ(refused.error().message, "too much at once");
  EXPECT_LT(agent.asked, 10);
}

}  // namespace
}  // namespace flurry
