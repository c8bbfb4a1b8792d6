#include "agent/acceptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/log.h"

namespace flurry::agent {
namespace {

constexpr int kBacklog = 64;
// For when there is no descriptor to accept with: not in a tight loop.
constexpr int kPauseMs = 100;

Result<sys::Fd> listen_on(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Error{ErrorKind::kFailed, path + " is too long for a socket"};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return sys::errno_error("remove " + path, errno);
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return sys::errno_error("socket", errno);
  const mode_t old_mask = ::umask(0177);
  const int bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  ::umask(old_mask);
  if (bound != 0) return sys::errno_error("bind " + path, error);
  if (::listen(fd.get(), kBacklog) != 0) return sys::errno_error("listen on " + path, errno);
  return fd;
}

bool is_ours(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::geteuid();
}

}  // namespace

Result<std::unique_ptr<Acceptor>> Acceptor::start(const std::string& path, size_t max, Handlers handlers) {
  ASSIGN_OR_RETURN(sys::Fd listener, listen_on(path));
  ASSIGN_OR_RETURN(auto ends, sys::socket_pair());
  return std::unique_ptr<Acceptor>(new Acceptor(std::move(listener), std::move(ends.first),
                                                std::move(ends.second), max, std::move(handlers)));
}

Acceptor::Acceptor(sys::Fd listener, sys::Fd stop_end, sys::Fd loop_end, size_t max, Handlers handlers)
    : listener_(std::move(listener)),
      stop_end_(std::move(stop_end)),
      loop_end_(std::move(loop_end)),
      max_(max),
      handlers_(std::move(handlers)),
      thread_([this] { run(); }) {}

Acceptor::~Acceptor() {
  stop_end_.reset();
  thread_.join();
}

void Acceptor::run() {
  for (;;) {
    std::vector<pollfd> polls = {{loop_end_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    // Without any event asked for: the end of a connection is always told.
    for (const auto& fd : open_) polls.push_back({fd.get(), 0, 0});
    if (::poll(polls.data(), polls.size(), -1) < 0 && errno != EINTR) return;
    if (polls[0].revents != 0) return;
    forget_ended();
    if (polls[1].revents != 0) accept_one();
  }
}

void Acceptor::accept_one() {
  sys::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd.is_open() && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
    ::poll(nullptr, 0, kPauseMs);
  if (!fd.is_open() || !is_ours(fd.get())) return;
  if (open_.size() >= max_) {
    log_warning("more than " + std::to_string(max_) + " connections: the oldest is ended");
    ::shutdown(open_.front().get(), SHUT_RDWR);
    open_.erase(open_.begin());
  }
  sys::Fd watched(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!watched.is_open()) return;
  open_.push_back(std::move(watched));
  handlers_.count(open_.size());
  handlers_.connected(std::move(fd));
}

// Whichever side ended it: the other descriptor of a connection that was shut down is told too.
void Acceptor::forget_ended() {
  const size_t before = open_.size();
  std::erase_if(open_, [](const sys::Fd& fd) {
    pollfd p{fd.get(), 0, 0};
    return ::poll(&p, 1, 0) > 0;
  });
  if (open_.size() != before) handlers_.count(open_.size());
}

}  // namespace flurry::agent
