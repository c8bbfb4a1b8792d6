#include "cli/ssh/ssh_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "cli/ssh/ssh_session.h"
#include "core/sys/clock.h"

namespace flurry::ssh {
namespace {

// Requests are small and taken all at once; the bound only slows down a storm of callers.
constexpr size_t kRequestsMax = 1024;
constexpr int kEventsMax = 256;
// How often silence is looked for.
constexpr Millis kTickInterval{500};

void ignore(ssize_t) {}

Error no_session() { return {ErrorKind::kUnreachable, "the connection is closed"}; }

uint64_t epoll_key(SessionId session, ChannelId channel) { return uint64_t{session} << 32 | channel; }

}  // namespace

struct SshLoop::Greet {
  SessionId id;
  sys::Fd socket;
  Algorithms algorithms;
  std::promise<Result<void>> done;
};

struct SshLoop::Login {
  SessionId id;
  LoginRequest request;
  std::promise<Result<LoginReply>> done;
};

struct SshLoop::Exec {
  SessionId id;
  ChannelId channel;
  SshChannel::Start start;
};

SshLoop::SshLoop(Millis place_lease, Millis keepalive_interval)
    : requests_(kRequestsMax),
      wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      keepalive_interval_(keepalive_interval),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      places_(place_lease) {
  // Not thread-safe in libssh2, and counted there: the first transport does it before any session.
  libssh2_init(0);
  watch(wakeup_.get(), 0, 0);
  thread_ = std::thread([this] { run(); });
}

SshLoop::~SshLoop() {
  post(Stop{});
  thread_.join();
  libssh2_exit();
}

SessionId SshLoop::new_session() { return next_session_++; }

void SshLoop::post(Request request) {
  requests_.push(std::move(request));
  const uint64_t one = 1;
  ignore(::write(wakeup_.get(), &one, sizeof one));
}

std::future<Result<void>> SshLoop::enter(SessionId id, std::string pool, size_t limit) {
  Enter request{id, std::move(pool), limit, {}};
  auto future = request.done.get_future();
  post(std::move(request));
  return future;
}

void SshLoop::leave(SessionId id) { post(Leave{id}); }

std::future<Result<void>> SshLoop::greet(SessionId id, sys::Fd socket, Algorithms algorithms) {
  auto request = std::make_unique<Greet>(Greet{id, std::move(socket), std::move(algorithms), {}});
  auto future = request->done.get_future();
  post(std::move(request));
  return future;
}

std::future<Result<std::string>> SshLoop::handshake(SessionId id) {
  Handshake request{id, {}};
  auto future = request.done.get_future();
  post(std::move(request));
  return future;
}

std::future<Result<LoginReply>> SshLoop::login(SessionId id, LoginRequest login) {
  auto request = std::make_unique<Login>(Login{id, std::move(login), {}});
  auto future = request->done.get_future();
  post(std::move(request));
  return future;
}

std::pair<std::future<Result<void>>, std::future<Result<RemoteExit>>> SshLoop::exec(SessionId session,
                                                                                    ChannelId channel,
                                                                                    std::string command,
                                                                                    sys::Fd pump) {
  auto request =
      std::make_unique<Exec>(Exec{session, channel, {std::move(command), std::move(pump), {}, {}}});
  std::pair futures(request->start.opened.get_future(), request->start.ended.get_future());
  post(std::move(request));
  return futures;
}

void SshLoop::close_channel(SessionId session, ChannelId channel) { post(CloseChannel{session, channel}); }

void SshLoop::close_session(SessionId session) { post(CloseSession{session}); }

void SshLoop::run() {
  while (!stopping_) {
    wait_for_events();
    take_requests();
    admit();
    service_ready();
    tick_all();
  }
  sessions_.clear();
  for (auto& [place, done] : waiting_) done.set_value(no_session());
}

void SshLoop::take_requests() {
  for (auto& request : requests_.pop_all(sys::now())) std::visit([this](auto& r) { handle(r); }, request);
}

void SshLoop::wait_for_events() {
  std::array<epoll_event, kEventsMax> events;
  const auto until = [now = sys::now()](TimePoint when) {
    return static_cast<int>(std::clamp<Millis>(when - now, Millis(0), kTickInterval).count()) + 1;
  };
  int timeout = !ready_.empty() ? 0 : sessions_.empty() ? -1 : until(next_tick_);
  if (const auto next = places_.next(); next && timeout != 0)
    timeout = timeout < 0 ? until(*next) : std::min(timeout, until(*next));
  const int n = ::epoll_wait(epoll_.get(), events.data(), kEventsMax, timeout);
  for (int i = 0; i < n; ++i) {
    const auto& event = events[static_cast<size_t>(i)];
    const auto id = static_cast<SessionId>(event.data.u64 >> 32);
    const auto channel = static_cast<ChannelId>(event.data.u64 & 0xffffffff);
    if (id == 0) {
      uint64_t count = 0;
      ignore(::read(wakeup_.get(), &count, sizeof count));
      continue;
    }
    SshSession* session = find(id);
    if (session == nullptr) continue;
    if (channel == 0)
      session->on_socket_ready(event.events);
    else
      session->on_channel_ready(channel, event.events);
    ready_.insert(id);
  }
}

void SshLoop::service_ready() {
  const auto now = sys::now();
  for (auto it = ready_.begin(); it != ready_.end();) {
    SshSession* session = find(*it);
    const bool more = session != nullptr && session->service(now);
    it = more ? std::next(it) : ready_.erase(it);
  }
}

void SshLoop::tick_all() {
  const auto now = sys::now();
  if (now < next_tick_) return;
  next_tick_ = now + kTickInterval;
  for (auto& [id, session] : sessions_) {
    session->tick(now);
    ready_.insert(id);
  }
}

void SshLoop::admit() {
  for (const auto& place : places_.admit(sys::now())) {
    const auto waiting = waiting_.find(place);
    if (waiting == waiting_.end()) continue;
    waiting->second.set_value({});
    waiting_.erase(waiting);
  }
}

void SshLoop::handle(Enter& request) {
  places_.enter(request.pool, request.limit, request.id);
  waiting_.insert_or_assign({std::move(request.pool), request.id}, std::move(request.done));
}

void SshLoop::handle(Leave& request) {
  places_.leave(request.id);
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    const bool is_its = it->first.second == request.id;
    if (is_its) it->second.set_value(Error{ErrorKind::kCancelled, "not wanted any more"});
    it = is_its ? waiting_.erase(it) : std::next(it);
  }
}

void SshLoop::handle(Handshake& request) {
  SshSession* session = find(request.id);
  if (session == nullptr) return request.done.set_value(no_session());
  session->start_handshake(std::move(request.done));
  ready_.insert(request.id);
}

void SshLoop::handle(std::unique_ptr<Greet>& request) {
  const int fd = request->socket.get();
  auto session = std::make_unique<SshSession>(std::move(request->socket), keepalive_interval_);
  session->start_greeting(request->algorithms, std::move(request->done));
  if (!watch(fd, request->id, 0)) session->fail({ErrorKind::kFailed, "epoll: out of memory or descriptors"});
  sessions_.insert_or_assign(request->id, std::move(session));
  ready_.insert(request->id);
}

void SshLoop::handle(std::unique_ptr<Login>& request) {
  SshSession* session = find(request->id);
  if (session == nullptr) return request->done.set_value(no_session());
  session->start_login(std::move(request->request), std::move(request->done));
  ready_.insert(request->id);
}

void SshLoop::handle(std::unique_ptr<Exec>& request) {
  SshSession* session = find(request->id);
  if (session == nullptr) {
    request->start.opened.set_value(no_session());
    request->start.ended.set_value(no_session());
    return;
  }
  watch(request->start.pump.get(), request->id, request->channel);
  session->open_channel(request->channel, std::move(request->start));
  ready_.insert(request->id);
}

void SshLoop::handle(CloseChannel& request) {
  SshSession* session = find(request.id);
  if (session == nullptr) return;
  session->close_channel(request.channel);
  ready_.insert(request.id);
}

void SshLoop::handle(CloseSession& request) { sessions_.erase(request.id); }

void SshLoop::handle(Stop&) { stopping_ = true; }

SshSession* SshLoop::find(SessionId id) {
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : found->second.get();
}

bool SshLoop::watch(int fd, SessionId session, ChannelId channel) {
  // Edge-triggered and for everything, once: readiness is remembered until a call says EAGAIN.
  epoll_event event{};
  event.events = EPOLLIN | (session != 0 ? EPOLLOUT | EPOLLRDHUP | EPOLLET : 0u);
  event.data.u64 = epoll_key(session, channel);
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace flurry::ssh
