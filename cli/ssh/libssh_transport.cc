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

std::string peer_name(const SshConfig& config) {
  return config.user + "@" + config.hostname + ":" + std::to_string(config.port);
}

Error with_peer(const Error& error, const SshConfig& config) { return error.with_context(peer_name(config)); }

// The same error, said of what was waited for; others are left as they are.
Error of_silence(const Error& error, const std::string& what, TimePoint since) {
  if (error.kind != ErrorKind::kTimedOut) return error;
  return {error.kind, what + " (waited " + std::to_string((sys::now() - since).count() / 1000) + " s)"};
}

}  // namespace

// A dial's places among the others, and its deadline, which doesn't run while it queues for them.
class LibsshTransport::Turn {
 public:
  Turn(SshLoop& loop, SessionId id, bool is_urgent, TimePoint deadline, Millis& queued)
      : loop_(loop), id_(id), is_urgent_(is_urgent), deadline_(deadline), queued_(queued) {}
  ~Turn() { loop_.leave(id_); }
  Turn(const Turn&) = delete;

  TimePoint deadline() const { return deadline_; }
  // Now, and at most `patience` later.
  TimePoint within(Millis patience) const { return std::min(deadline_, sys::now() + patience); }

  Result<void> wait(const std::string& pool, size_t limit) {
    const TimePoint since = sys::now();
    auto granted = loop_.enter(id_, (is_urgent_ ? "urgent " : "") + pool, limit);
    auto result = await(granted, since + kQueueMax, "wait for other dials to the same server");
    const Millis waited = sys::now() - since;
    deadline_ += waited;
    queued_ += waited;
    return result;
  }

 private:
  // Leases end, so the queue moves on; this is for what nobody thought of.
  static constexpr Millis kQueueMax{15 * 60'000};

  SshLoop& loop_;
  const SessionId id_;
  const bool is_urgent_;
  TimePoint deadline_;
  Millis& queued_;
};

LibsshTransport::LibsshTransport(TransportOptions options)
    : options_(std::move(options)),
      program_(options_.program),
      loop_(options_.place_lease, options_.keepalive_interval) {}

Result<std::unique_ptr<Connection>> LibsshTransport::dial(const Target& target, TimePoint deadline) {
  Error told{ErrorKind::kInvalidInput, "no address for " + target.host.str()};
  Millis queued{0};
  size_t left = target.addresses.size();
  for (const auto& address : target.addresses) {
    // The time is shared out, so that one silent address leaves some for the others.
    const TimePoint now = sys::now();
    const TimePoint until = now + (deadline + queued - now) / static_cast<int>(left);
    auto connection = dial_address(target, address, until, queued);
    if (connection) return connection;
    const Error& error = connection.error();
    told = left == target.addresses.size() ? error : Error{error.kind, told.message + "; " + error.message};
    // Another address helps where nobody answered; not where somebody said no.
    if (error.kind != ErrorKind::kUnreachable && error.kind != ErrorKind::kTimedOut) return told;
    if (--left == 0 || sys::now() >= deadline + queued) break;
  }
  return told;
}

Result<std::unique_ptr<Connection>> LibsshTransport::dial_address(const Target& target,
                                                                  const std::string& address,
                                                                  TimePoint deadline, Millis& queued) {
  ASSIGN_OR_RETURN(const auto config, ask_ssh_config(options_.program, target, address, deadline));
  const auto session = loop_.new_session();
  Turn turn(loop_, session, target.is_urgent, deadline, queued);
  const std::string server =
      config.jump.empty() ? config.hostname + ":" + std::to_string(config.port) : config.jump;
  const auto granted = turn.wait("to " + server, options_.to_one_server_max);
  if (!granted) return with_peer(granted.error(), config);
  if (!config.program_only.empty()) return dial_program(target, config, address, turn);
  const auto met = meet(target, config, session, turn);
  const auto done = met ? log_in(loop_, session, config, turn.deadline()) : met;
  if (done)
    return std::unique_ptr<Connection>(std::make_unique<LibsshConnection>(loop_, session, peer_name(config)));
  loop_.close_session(session);
  if (done.error().kind != ErrorKind::kUnsupported) return with_peer(done.error(), config);
  auto by_program = dial_program(target, config, address, turn);
  if (by_program || !met) return by_program;
  // It knows more keys and ways to log in. Where it gets no further, we know better what to do about it.
  return Error{ErrorKind::kRefused, with_peer(done.error(), config).message +
                                        ". The ssh program gets no further: " + by_program.error().message};
}

Result<std::unique_ptr<Connection>> LibsshTransport::dial_program(const Target& target,
                                                                  const SshConfig& config,
                                                                  const std::string& address, Turn& turn) {
  RETURN_IF_ERROR(turn.wait("by the ssh program", options_.handshakes_max));
  return program_.dial_address(target, config, address, turn.deadline());
}

// Up to a host key that is trusted. kUnsupported: libssh2 can't talk to this host.
Result<void> LibsshTransport::meet(const Target& target, const SshConfig& config, SessionId session,
                                   Turn& turn) {
  const auto known = keys_on_file(config);
  Algorithms algorithms = config.algorithms;
  algorithms.host_keys = host_key_algorithms(known.own.empty() ? known.without_port : known.own,
                                             seen_key(config, target.seen), algorithms.host_keys);
  if (algorithms.host_keys.empty())
    return Error{ErrorKind::kUnsupported, "no host key on file that libssh2 can verify"};
  ASSIGN_OR_RETURN(const auto key, shake_hands(config, algorithms, session, turn));
  return check_host_key(config, known, key, target.seen);
}

// The key that the host shows. Each step has a limit of its own; as with ssh, ConnectTimeout is one for all.
Result<std::string> LibsshTransport::shake_hands(const SshConfig& config, const Algorithms& algorithms,
                                                 SessionId session, Turn& turn) {
  const Millis whole(1000LL * config.connect_timeout_s);
  const TimePoint begun = sys::now();
  const auto until = [&](Millis own) {
    return whole > Millis(0) ? std::min(turn.deadline(), begun + whole) : turn.within(own);
  };
  ASSIGN_OR_RETURN(auto socket, connect_tcp(config.hostname, config.port, config.address_family,
                                            until(options_.connect_timeout)));
  TimePoint since = sys::now();
  auto greeted = loop_.greet(session, std::move(socket), algorithms);
  const auto greeting = await(greeted, until(options_.greeting_timeout), "SSH greeting");
  if (!greeting) return of_silence(greeting.error(), "the port accepts, but sends no SSH banner", since);
  RETURN_IF_ERROR(turn.wait("handshakes", options_.handshakes_max));
  since = sys::now();
  auto shaken = loop_.handshake(session);
  auto key = await(shaken, until(options_.handshake_timeout), "SSH handshake");
  if (!key) return of_silence(key.error(), "the SSH handshake stopped halfway: the server is silent", since);
  return key;
}

}  // namespace flurry::ssh
