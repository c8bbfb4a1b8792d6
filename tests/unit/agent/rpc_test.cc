#include <grpcpp/create_channel.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>

#include "agent/file_io.h"
#include "agent/rpc/server.h"
#include "core/wire/convert.h"
#include "flurry/v1/agent.grpc.pb.h"
#include "tests/unit/agent/executor_fixture.h"
#include "tests/unit/agent/slow_checks.h"

namespace flurry::agent {
namespace {

using RpcTest = ExecutorTest;

TEST_F(RpcTest, SpeaksGrpcOverItsSocket) {
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(make_private_dir(paths_.run()));
  auto server = RpcServer::start(paths_.socket(), life.executor, system_, "abc");
  ASSERT_TRUE(server) << server.error().message;
  struct stat info {};
  ASSERT_EQ(::stat(paths_.socket().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto stub =
      v1::Agent::NewStub(grpc::CreateChannel("unix:" + paths_.socket(), grpc::InsecureChannelCredentials()));

  v1::HelloReply hello;
  grpc::ClientContext c1;
  ASSERT_TRUE(stub->Hello(&c1, {}, &hello).ok());
  EXPECT_EQ(hello.build(), "abc");

  v1::BeginRequest begin;
  wire::to_proto(test_spec(), *begin.mutable_spec());
  v1::BeginReply begun;
  grpc::ClientContext c2;
  ASSERT_TRUE(stub->Begin(&c2, begin, &begun).ok());
  begin.mutable_spec()->mutable_profiles(0)->set_new_path("/etc/passwd");
  grpc::ClientContext c3;
  EXPECT_EQ(stub->Begin(&c3, begin, &begun).error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  ASSERT_TRUE(life.reaches(test_spec().deployment, Phase::kAwaitingConfirmation));
  v1::ConfirmRequest confirm;
  confirm.set_deployment(test_spec().deployment.str());
  confirm.set_nonce(kNonce);
  v1::Observation seen;
  grpc::ClientContext c4;
  ASSERT_TRUE(stub->Confirm(&c4, confirm, &seen).ok());
  EXPECT_GE(seen.phase(), v1::PHASE_CONFIRMED);
  life.wait(test_spec().deployment);

  v1::InspectReply inspected;
  grpc::ClientContext c5;
  ASSERT_TRUE(stub->Inspect(&c5, {}, &inspected).ok());
  EXPECT_EQ(inspected.state().running(), kNew.str());
  EXPECT_EQ(inspected.last().outcome(), "succeeded");
  v1::HistoryReply history;
  grpc::ClientContext c6;
  ASSERT_TRUE(stub->History(&c6, {}, &history).ok());
  EXPECT_EQ(history.deployments_size(), 1);
  life.executor.stop();
}

// Silence, half a preface, garbage; more of them than the process has descriptors to give away.
TEST_F(RpcTest, ServesAControllerAmongConnectionsThatSayNothingSensible) {
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(make_private_dir(paths_.run()));
  auto server = RpcServer::start(paths_.socket(), life.executor, system_, "abc");
  ASSERT_TRUE(server) << server.error().message;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, paths_.socket().c_str(), paths_.socket().size() + 1);
  std::vector<sys::Fd> hostile;
  for (int i = 0; i < 400; ++i) {
    sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const std::string said = i % 3 == 0 ? "" : i % 3 == 1 ? "PRI * HTTP/2.0\r\n" : std::string(5000, '\xff');
    static_cast<void>(::send(fd.get(), said.data(), said.size(), MSG_NOSIGNAL));
    hostile.push_back(std::move(fd));
  }
  const auto stub =
      v1::Agent::NewStub(grpc::CreateChannel("unix:" + paths_.socket(), grpc::InsecureChannelCredentials()));
  v1::HelloReply hello;
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  const auto status = stub->Hello(&context, {}, &hello);
  EXPECT_TRUE(status.ok()) << status.error_message();
  size_t open = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++open;
  EXPECT_LT(open, 400 + 300u) << "ours among them";
  life.executor.stop();
}

TEST_F(RpcTest, ConfirmsADeploymentAmongManyCallsOfChecks) {
  SlowChecks slow;
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(make_private_dir(paths_.run()));
  auto server = RpcServer::start(paths_.socket(), life.executor, slow, "abc");
  ASSERT_TRUE(server) << server.error().message;
  const auto dial = [&] {
    grpc::ChannelArguments own;
    own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::Agent::NewStub(
        grpc::CreateCustomChannel("unix:" + paths_.socket(), grpc::InsecureChannelCredentials(), own));
  };
  std::atomic<int> refused = 0;
  std::vector<std::jthread> crowd;
  for (int i = 0; i < 60; ++i)
    crowd.emplace_back([&] {
      v1::CheckRequest request;
      HealthPolicy policy;
      policy.checks.resize(1);
      policy.checks[0].name = "slow";
      policy.checks[0].kind = CommandCheck{{"true"}};
      wire::to_proto(policy, *request.mutable_health());
      v1::CheckReply reply;
      grpc::ClientContext context;
      const auto status = dial()->Check(&context, request, &reply);
      if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) ++refused;
    });
  const TimePoint until = sys::now() + kPatience;
  while ((slow.now < 8 || refused < 52) && sys::now() < until) ::poll(nullptr, 0, 1);
  EXPECT_EQ(slow.now, 8);
  EXPECT_EQ(refused, 52);
  const auto stub = dial();
  v1::BeginRequest begin;
  wire::to_proto(test_spec(), *begin.mutable_spec());
  v1::BeginReply begun;
  grpc::ClientContext c1;
  EXPECT_TRUE(stub->Begin(&c1, begin, &begun).ok());
  ASSERT_TRUE(life.reaches(test_spec().deployment, Phase::kAwaitingConfirmation));
  v1::ConfirmRequest confirm;
  confirm.set_deployment(test_spec().deployment.str());
  confirm.set_nonce(kNonce);
  v1::Observation seen;
  grpc::ClientContext c2;
  EXPECT_TRUE(stub->Confirm(&c2, confirm, &seen).ok());
  slow.is_let_go = true;
  crowd.clear();
  life.executor.stop();
}

}  // namespace
}  // namespace flurry::agent
