#pragma once

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "cli/ssh/algorithms.h"
#include "cli/ssh/places.h"
#include "cli/transport.h"
#include "core/sys/bounded_queue.h"

namespace flurry::ssh {

class SshSession;
struct LoginRequest;
struct LoginReply;
using SessionId = uint32_t;
using ChannelId = uint32_t;

// The one thread that owns all libssh2 sessions. Any thread may call any method; each hands a request
// over and returns at once. Answers come as futures, which a session's end fulfils with an error; the
// caller waits as long as it likes and then closes what it no longer wants. Requests for a session
// that isn't there fail. Outlives everything that holds a pointer to it.
class SshLoop {
 public:
  SshLoop(Millis place_lease, Millis keepalive_interval);
  ~SshLoop();

  SessionId new_session();
  ChannelId new_channel() { return next_channel_++; }

  // A place among the `limit` of that pool; leave() gives back all that the session has, or waits for.
  std::future<Result<void>> enter(SessionId id, std::string pool, size_t limit);
  void leave(SessionId id);

  // Says our banner, and waits for the first byte of the server's.
  std::future<Result<void>> greet(SessionId id, sys::Fd socket, Algorithms algorithms);
  // The host's key blob.
  std::future<Result<std::string>> handshake(SessionId id);
  std::future<Result<LoginReply>> login(SessionId id, LoginRequest request);

  // `pump` is the loop's end of a socket pair. `first`: the server took the command; `second`: it ended.
  std::pair<std::future<Result<void>>, std::future<Result<RemoteExit>>> exec(SessionId session,
                                                                             ChannelId channel,
                                                                             std::string command,
                                                                             sys::Fd pump);
  void close_channel(SessionId session, ChannelId channel);
  void close_session(SessionId session);

 private:
  struct Enter {
    SessionId id;
    std::string pool;
    size_t limit;
    std::promise<Result<void>> done;
  };
  struct Leave {
    SessionId id;
  };
  struct Greet;
  struct Handshake {
    SessionId id;
    std::promise<Result<std::string>> done;
  };
  struct Login;
  struct Exec;
  struct CloseChannel {
    SessionId id;
    ChannelId channel;
  };
  struct CloseSession {
    SessionId id;
  };
  struct Stop {};
  // What is big or needs libssh2's types goes behind a pointer.
  using Request = std::variant<Enter, Leave, std::unique_ptr<Greet>, Handshake, std::unique_ptr<Login>,
                               std::unique_ptr<Exec>, CloseChannel, CloseSession, Stop>;

  void post(Request request);
  void run();
  void take_requests();
  void wait_for_events();
  void service_ready();
  void tick_all();
  void admit();

  void handle(Enter& request);
  void handle(Leave& request);
  void handle(std::unique_ptr<Greet>& request);
  void handle(Handshake& request);
  void handle(std::unique_ptr<Login>& request);
  void handle(std::unique_ptr<Exec>& request);
  void handle(CloseChannel& request);
  void handle(CloseSession& request);
  void handle(Stop& request);

  SshSession* find(SessionId id);
  bool watch(int fd, SessionId session, ChannelId channel);

  // Any thread.
  std::atomic<uint32_t> next_session_{1};
  std::atomic<uint32_t> next_channel_{1};
  sys::BoundedQueue<Request> requests_;
  sys::Fd wakeup_;

  // The loop's thread only.
  const Millis keepalive_interval_;
  sys::Fd epoll_;
  std::map<SessionId, std::unique_ptr<SshSession>> sessions_;
  std::set<SessionId> ready_;
  Places places_;
  std::map<std::pair<std::string, SessionId>, std::promise<Result<void>>> waiting_;
  TimePoint next_tick_{};
  bool stopping_ = false;

  std::thread thread_;  // last: starts when all else is there
};

}  // namespace flurry::ssh
