#pragma once

#include <memory>
#include <string>

#include "cli/ssh/program_transport.h"
#include "cli/ssh/ssh_config.h"
#include "cli/ssh/ssh_loop.h"

namespace flurry::ssh {

struct TransportOptions {
  // More at once make all of them slower: with 1000 hosts 64 at a time ended in under half the time
  // of all at once, and a server behind one address drops connections beyond its MaxStartups.
  size_t handshakes_max = 32;
  // A quiet connection is asked whether it lives; one that stays silent for 15 s is dead.
  Millis keepalive_interval{5000};
  // A host that doesn't take the TCP connection by then isn't there, unless ConnectTimeout says otherwise.
  Millis connect_timeout{10000};
  SshProgram program;
};

// SSH in process, by libssh2; hands a target over to the ssh program where only that can reach it
// (ProxyJump, ProxyCommand, certificates, RSA keys). Outlives its connections and their processes;
// those may be destroyed in any order and by any thread, and that never waits for the host.
class LibsshTransport : public Transport {
 public:
  explicit LibsshTransport(TransportOptions options);

  Result<std::unique_ptr<Connection>> dial(const Target& target, TimePoint deadline) override;

 private:
  Result<std::unique_ptr<Connection>> dial_address(const Target& target, const std::string& address,
                                                   TimePoint deadline);
  Result<std::unique_ptr<Connection>> dial_session(const SshConfig& config, SessionId session,
                                                   TimePoint deadline);

  const TransportOptions options_;
  ProgramTransport program_;
  SshLoop loop_;
};

}  // namespace flurry::ssh
