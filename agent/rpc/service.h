#pragma once

#include <string>

#include "agent/check_calls.h"
#include "agent/executor.h"
#include "agent/places.h"
#include "agent/system.h"
#include "flurry/v1/agent.grpc.pb.h"

namespace flurry::agent {

// The wire's side of the agent: converts, asks the executor, converts back. gRPC's threads.
class AgentService final : public v1::Agent::Service {
 public:
  AgentService(Executor& executor, System& system, std::string build)
      : executor_(executor), system_(system), build_(std::move(build)), checks_(system) {}

  grpc::Status Hello(grpc::ServerContext*, const v1::HelloRequest*, v1::HelloReply*) override;
  grpc::Status Inspect(grpc::ServerContext*, const v1::InspectRequest*, v1::InspectReply*) override;
  grpc::Status Begin(grpc::ServerContext*, const v1::BeginRequest*, v1::BeginReply*) override;
  grpc::Status Observe(grpc::ServerContext*, const v1::ObserveRequest*, v1::Observation*) override;
  grpc::Status Confirm(grpc::ServerContext*, const v1::ConfirmRequest*, v1::Observation*) override;
  grpc::Status RollBack(grpc::ServerContext*, const v1::RollBackRequest*, v1::RollBackReply*) override;
  grpc::Status Check(grpc::ServerContext*, const v1::CheckRequest*, v1::CheckReply*) override;
  grpc::Status History(grpc::ServerContext*, const v1::HistoryRequest*, v1::HistoryReply*) override;

 private:
  Executor& executor_;
  System& system_;
  const std::string build_;
  CheckCalls checks_;
  Places inspections_{8};
};

}  // namespace flurry::agent
