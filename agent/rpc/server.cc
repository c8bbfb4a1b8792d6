#include "agent/rpc/server.h"

#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "agent/rpc/service.h"
#include "core/sys/fd.h"

namespace flurry::agent {
namespace {

constexpr int kMessageMax = 4 << 20;
constexpr int kThreadsMax = 40;  // long polls hold one each
constexpr size_t kMemoryMax = 64 << 20;

class GrpcServer final : public RpcServer {
 public:
  GrpcServer(Executor& executor, System& system, const std::string& build)
      : service_(executor, system, build) {}

  bool listen(const std::string& socket) {
    grpc::ResourceQuota quota("agent");
    quota.SetMaxThreads(kThreadsMax);
    quota.Resize(kMemoryMax);
    grpc::ServerBuilder builder;
    builder.SetResourceQuota(quota);
    builder.SetMaxReceiveMessageSize(kMessageMax);
    builder.SetMaxSendMessageSize(kMessageMax);
    builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    return server_ != nullptr;
  }

  ~GrpcServer() override {
    if (server_) server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  }

 private:
  AgentService service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

Result<std::unique_ptr<RpcServer>> RpcServer::start(const std::string& socket, Executor& executor,
                                                    System& system, const std::string& build) {
  if (::unlink(socket.c_str()) != 0 && errno != ENOENT) return sys::errno_error("remove " + socket, errno);
  const mode_t old_mask = ::umask(0177);
  auto server = std::make_unique<GrpcServer>(executor, system, build);
  const bool listens = server->listen(socket);
  ::umask(old_mask);
  if (!listens) return Error{ErrorKind::kFailed, "could not listen on " + socket};
  return std::unique_ptr<RpcServer>(std::move(server));
}

}  // namespace flurry::agent
