#pragma once

#include <memory>
#include <string>

#include "cli/ssh/program_transport.h"
#include "cli/ssh/ssh_config.h"
#include "cli/ssh/ssh_loop.h"

namespace flurry::ssh {

struct TransportOptions {
  // More at once make all of them slower: with 1000 hosts 64 at a time ended in under half the time
  // of all at once. As many again are kept for urgent dials.
  size_t handshakes_max = 32;
  // One server drops connections from its MaxStartups on (10 unless set); a bastion is one for many hosts.
  size_t to_one_server_max = 8;
  // A dial that takes longer goes on, and another begins beside it.
  Millis place_lease{3000};
  // A quiet connection is asked whether it lives; one that stays silent for 15 s is dead.
  Millis keepalive_interval{5000};
  // A host that doesn't take the TCP connection by then isn't there, unless ConnectTimeout says otherwise.
  Millis connect_timeout{10000};
  // Each, likewise: the first byte after the port has accepted, and the handshake from there on.
  Millis greeting_timeout{15000};
  Millis handshake_timeout{20000};
  SshProgram program;
};

// SSH in process, by libssh2, where it does all that the user's configuration asks for; all else goes by the
// ssh program (ProxyJump, certificates, RSA keys, any setting that libssh_settings.h doesn't list), and so
// does a login that was refused, once, before it is told. Outlives its connections and their processes; those
// may be destroyed in any order and by any thread, and that never waits for the host. No host holds up
// another: one that stalls keeps its own thread waiting, and a place for a moment.
class LibsshTransport : public Transport {
 public:
  explicit LibsshTransport(TransportOptions options);

  Result<std::unique_ptr<Connection>> dial(const Target& target, TimePoint deadline) override;

 private:
  class Turn;
  Result<std::unique_ptr<Connection>> dial_address(const Target& target, const std::string& address,
                                                   TimePoint deadline, Millis& queued);
  Result<std::unique_ptr<Connection>> dial_program(const Target& target, const SshConfig& config,
                                                   const std::string& address, Turn& turn);
  Result<void> meet(const Target& target, const SshConfig& config, SessionId session, Turn& turn);
  Result<std::string> shake_hands(const SshConfig& config, const Algorithms& algorithms, SessionId session,
                                  Turn& turn);

  const TransportOptions options_;
  ProgramTransport program_;
  SshLoop loop_;
};

}  // namespace flurry::ssh
