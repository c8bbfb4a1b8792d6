#include "cli/ssh/libssh_transport.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "cli/ssh/await.h"
#include "cli/ssh/host_key.h"
#include "cli/ssh/login.h"
#include "cli/ssh/ssh_session.h"
#include "cli/ssh/tcp.h"

namespace flurry::ssh {
namespace {

class LibsshProcess : public RemoteProcess {
 public:
  LibsshProcess(SshLoop& loop, SessionId session, ChannelId channel, sys::Fd io,
                std::future<Result<RemoteExit>> ended)
      : loop_(loop), session_(session), channel_(channel), io_(std::move(io)), ended_(ended.share()) {}
  ~LibsshProcess() override { loop_.close_channel(session_, channel_); }

  sys::Fd& io() override { return io_; }
  Result<RemoteExit> wait(TimePoint deadline) override { return await(ended_, deadline, "remote command"); }

 private:
  SshLoop& loop_;
  const SessionId session_;
  const ChannelId channel_;
  sys::Fd io_;
  const std::shared_future<Result<RemoteExit>> ended_;
};

class LibsshConnection : public Connection {
 public:
  LibsshConnection(SshLoop& loop, SessionId session, std::string peer)
      : loop_(loop), session_(session), peer_(std::move(peer)) {}
  ~LibsshConnection() override { loop_.close_session(session_); }

  Result<std::unique_ptr<RemoteProcess>> exec(const std::string& command, TimePoint deadline) override {
    ASSIGN_OR_RETURN(auto ends, sys::socket_pair());
    ::fcntl(ends.second.get(), F_SETFL, O_NONBLOCK);
    const auto channel = loop_.new_channel();
    auto [opened, ended] = loop_.exec(session_, channel, command, std::move(ends.second));
    // Made first: whatever happens from here on, its end closes the channel.
    auto process =
        std::make_unique<LibsshProcess>(loop_, session_, channel, std::move(ends.first), std::move(ended));
    RETURN_IF_ERROR(await(opened, deadline, "start a command on " + peer_));
    return std::unique_ptr<RemoteProcess>(std::move(process));
  }

  std::string peer() const override { return peer_; }

 private:
  SshLoop& loop_;
  const SessionId session_;
  const std::string peer_;
};

// Holds a place among the handshakes in flight, or the wish for one.
class HandshakePlace {
 public:
  HandshakePlace(SshLoop& loop, SessionId id) : loop_(loop), id_(id), granted_(loop.enter(id)) {}
  ~HandshakePlace() { loop_.leave(id_); }
  HandshakePlace(const HandshakePlace&) = delete;

  Result<void> wait(TimePoint deadline) { return await(granted_, deadline, "wait for other handshakes"); }

 private:
  SshLoop& loop_;
  const SessionId id_;
  std::future<Result<void>> granted_;
};

std::string peer_name(const SshConfig& config) {
  return config.user + "@" + config.hostname + ":" + std::to_string(config.port);
}

Error with_peer(const Error& error, const SshConfig& config) { return error.with_context(peer_name(config)); }

}  // namespace

LibsshTransport::LibsshTransport(TransportOptions options)
    : options_(std::move(options)),
      program_(options_.program),
      loop_(options_.handshakes_max, options_.keepalive_interval) {}

Result<std::unique_ptr<Connection>> LibsshTransport::dial(const Target& target, TimePoint deadline) {
  Error last{ErrorKind::kInvalidInput, "no address for " + target.host.str()};
  for (const auto& address : target.addresses) {
    auto connection = dial_address(target, address, deadline);
    if (connection) return connection;
    last = connection.error();
    // Another address helps where nobody answered; not where somebody said no.
    if (last.kind != ErrorKind::kUnreachable && last.kind != ErrorKind::kTimedOut) return last;
    if (sys::now() >= deadline) break;
  }
  return last;
}

Result<std::unique_ptr<Connection>> LibsshTransport::dial_address(const Target& target,
                                                                  const std::string& address,
                                                                  TimePoint deadline) {
  ASSIGN_OR_RETURN(const auto config, ask_ssh_config(options_.program, target, address, deadline));
  const auto session = loop_.new_session();
  HandshakePlace place(loop_, session);
  const auto granted = place.wait(deadline);
  if (!granted) return with_peer(granted.error(), config);
  if (!config.program_only.empty()) return program_.dial_address(target, config, address, deadline);
  auto connection = dial_session(config, session, deadline);
  if (connection) return connection;
  loop_.close_session(session);
  if (connection.error().kind != ErrorKind::kUnsupported) return with_peer(connection.error(), config);
  return program_.dial_address(target, config, address, deadline);
}

// kUnsupported: libssh2 can't talk to this host or log in with these keys.
Result<std::unique_ptr<Connection>> LibsshTransport::dial_session(const SshConfig& config, SessionId session,
                                                                  TimePoint deadline) {
  auto files = config.user_known_hosts;
  files.insert(files.end(), config.global_known_hosts.begin(), config.global_known_hosts.end());
  const auto known =
      read_known_keys(files, known_hosts_name(config.hostname, config.port, config.host_key_alias));
  const auto algorithms = host_key_algorithms(known);
  if (algorithms.empty())
    return Error{ErrorKind::kUnsupported, "no host key on file that libssh2 can verify"};

  const auto patience =
      config.connect_timeout_s > 0 ? Millis(1000LL * config.connect_timeout_s) : options_.connect_timeout;
  ASSIGN_OR_RETURN(auto socket, connect_tcp(config.hostname, config.port, config.address_family,
                                            std::min(deadline, sys::now() + patience)));
  auto shaken = loop_.handshake(session, std::move(socket), algorithms);
  ASSIGN_OR_RETURN(const auto key, await(shaken, deadline, "SSH handshake"));
  RETURN_IF_ERROR(check_host_key(config, known, key));
  RETURN_IF_ERROR(log_in(loop_, session, config, deadline));
  return std::unique_ptr<Connection>(std::make_unique<LibsshConnection>(loop_, session, peer_name(config)));
}

}  // namespace flurry::ssh
