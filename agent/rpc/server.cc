#include "agent/rpc/server.h"

#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>

#include <chrono>

#include "agent/acceptor.h"
#include "agent/rpc/service.h"

namespace flurry::agent {
namespace {

constexpr int kMessageMax = 4 << 20;
constexpr int kThreadsMax = 40;  // long polls hold one each
constexpr size_t kMemoryMax = 64 << 20;
// A controller has one or two; each takes two descriptors.
constexpr size_t kConnectionsMax = 64;

class GrpcServer final : public RpcServer {
 public:
  GrpcServer(Executor& executor, System& system, const std::string& build)
      : executor_(executor), service_(executor, system, build) {}

  Result<void> listen(const std::string& socket) {
    grpc::ResourceQuota quota("agent");
    quota.SetMaxThreads(kThreadsMax);
    quota.Resize(kMemoryMax);
    grpc::ServerBuilder builder;
    builder.SetResourceQuota(quota);
    builder.SetMaxReceiveMessageSize(kMessageMax);
    builder.SetMaxSendMessageSize(kMessageMax);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    if (!server_) return Error{ErrorKind::kFailed, "could not start a gRPC server"};
    const auto serve = [this](sys::Fd fd) { grpc::AddInsecureChannelFromFd(server_.get(), fd.release()); };
    const auto count = [this](size_t open) { executor_.connections(open); };
    ASSIGN_OR_RETURN(acceptor_, Acceptor::start(socket, kConnectionsMax, {serve, count}));
    return {};
  }

  ~GrpcServer() override {
    acceptor_.reset();
    if (server_) server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  }

 private:
  Executor& executor_;
  AgentService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Acceptor> acceptor_;
};

}  // namespace

Result<std::unique_ptr<RpcServer>> RpcServer::start(const std::string& socket, Executor& executor,
                                                    System& system, const std::string& build) {
  auto server = std::make_unique<GrpcServer>(executor, system, build);
  RETURN_IF_ERROR(server->listen(socket));
  return std::unique_ptr<RpcServer>(std::move(server));
}

}  // namespace flurry::agent
