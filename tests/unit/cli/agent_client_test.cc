#include "cli/rpc/agent_client.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

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

}  // namespace
}  // namespace flurry
