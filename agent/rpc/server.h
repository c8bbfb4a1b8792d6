#pragma once

#include <memory>
#include <string>

#include "core/result.h"

namespace flurry::agent {

class Executor;
class System;

// gRPC on a Unix socket. Serves from start() to its destruction, which waits for running calls at most
// two seconds. Stop the executor first.
class RpcServer {
 public:
  // Replaces a socket that is there; who can open it may call everything: mode 0600.
  static Result<std::unique_ptr<RpcServer>> start(const std::string& socket, Executor& executor,
                                                  System& system, const std::string& build);
  virtual ~RpcServer() = default;
};

}  // namespace flurry::agent
