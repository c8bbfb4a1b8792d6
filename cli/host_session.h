#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/agent_binary.h"
#include "cli/copy/lanes.h"
#include "cli/rpc/agent_client.h"
#include "cli/transport.h"
#include "core/fleet.h"

namespace flurry {

// One SSH connection to a host and the agent behind it. One thread at a time.
class HostSession {
 public:
  // How a host is dialled.
  struct Dialling {
    Millis patience;         // for what the host does; a queue before that doesn't count
    bool is_urgent = false;  // as in Target
    SeenHostKeys* seen = nullptr;
  };

  // Dials, brings the agent along where the host lacks it, starts it, says hello. Always a new
  // connection. `host` and `binary` must outlive the session.
  static Result<std::unique_ptr<HostSession>> open(Transport& transport, const HostConfig& host,
                                                   const AgentBinary& binary, const Dialling& dialling);

  AgentClient& agent() { return *agent_; }
  Connection& connection() { return *connection_; }

  // The command that runs the agent's own `verb` as root on the host.
  std::string agent_command(const std::string& verb) const;
  copy::AgentCommand agent_commands() const {
    return [this](const std::string& verb) { return agent_command(verb); };
  }

 private:
  HostSession(const HostConfig& host, const AgentBinary& binary) : host_(host), binary_(binary) {}

  // False: the host has no such agent yet.
  Result<bool> reach_agent(TimePoint deadline);
  // Whether the file that is there for it has other contents than it should.
  Result<bool> has_damaged_agent(TimePoint deadline);
  Result<void> upload_agent(TimePoint deadline);

  const HostConfig& host_;
  const AgentBinary& binary_;
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<RemoteProcess> bridge_;
  std::unique_ptr<AgentClient> agent_;
};

}  // namespace flurry
