#include "cli/ssh/tcp.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <future>
#include <memory>
#include <thread>

#include "core/sys/clock.h"

namespace flurry::ssh {
namespace {

// The kernel's part in noticing a dead link, for while nothing of ours is on its way: first probe
// after 5 s, then every 5 s, dead after two unanswered. Unacknowledged data may stay out 15 s.
constexpr int kProbeAfterSeconds = 5;
constexpr int kProbeEverySeconds = 5;
constexpr int kProbesMax = 2;
constexpr unsigned kUnacknowledgedMillisMax = 15000;

void set_options(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &kProbeAfterSeconds, sizeof(int));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &kProbeEverySeconds, sizeof(int));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &kProbesMax, sizeof(int));
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUnacknowledgedMillisMax, sizeof(unsigned));
}

// Waits for the connect to end; its errno, ETIMEDOUT at the deadline.
int finish_connect(int fd, TimePoint deadline) {
  for (;;) {
    const auto left = std::clamp<long long>((deadline - sys::now()).count(), 0, INT_MAX);
    pollfd p{fd, POLLOUT, 0};
    const int n = ::poll(&p, 1, static_cast<int>(left));
    if (n == 0) return ETIMEDOUT;
    if (n < 0 && errno != EINTR) return errno;
    if (n < 0) continue;
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
  }
}

Result<sys::Fd> connect_one(const addrinfo& address, TimePoint deadline) {
  sys::Fd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return sys::errno_error("socket", errno);
  set_options(fd.get());
  int error = 0;
  if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0) error = errno;
  if (error == EINPROGRESS) error = finish_connect(fd.get(), deadline);
  if (error == 0) return fd;
  std::array<char, NI_MAXHOST> name{};
  ::getnameinfo(address.ai_addr, address.ai_addrlen, name.data(), name.size(), nullptr, 0, NI_NUMERICHOST);
  return sys::errno_error(name.data(), error);
}

}  // namespace

Result<Addresses> resolve(const std::string& host, uint16_t port, int address_family, TimePoint deadline,
                          Lookup lookup) {
  std::promise<std::pair<int, Addresses>> promise;
  auto answer = promise.get_future();
  // A lookup that hangs can't be stopped, so the thread that waits for it is left behind.
  std::thread([=, promise = std::move(promise)]() mutable {
    addrinfo hints{};
    hints.ai_family = address_family;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    const int failed = lookup(host.c_str(), std::to_string(port).c_str(), &hints, &list);
    promise.set_value({failed, Addresses(failed == 0 ? list : nullptr)});
  }).detach();
  const auto left = std::max<Millis>(deadline - sys::now(), Millis(0));
  if (answer.wait_for(left) != std::future_status::ready)
    return Error{ErrorKind::kTimedOut, "resolve " + host + ": no answer from the name service"};
  auto [failed, addresses] = answer.get();
  if (failed != 0) return Error{ErrorKind::kUnreachable, "resolve " + host + ": " + ::gai_strerror(failed)};
  return std::move(addresses);
}

Result<sys::Fd> connect_tcp(const std::string& host, uint16_t port, int address_family, TimePoint deadline) {
  ASSIGN_OR_RETURN(const Addresses addresses, resolve(host, port, address_family, deadline));
  size_t left = 0;
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) ++left;
  std::string tried;
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next, --left) {
    // The time is shared out, so that one silent address leaves some for the others.
    const auto share = std::max<Millis>(Millis(1), (deadline - sys::now()) / static_cast<int>(left));
    auto fd = connect_one(*a, sys::now() + share);
    if (fd) return fd;
    tried += (tried.empty() ? "" : "; ") + fd.error().message;
    if (sys::now() >= deadline) break;
  }
  const auto kind = sys::now() >= deadline ? ErrorKind::kTimedOut : ErrorKind::kUnreachable;
  return Error{kind, "connect to port " + std::to_string(port) + ": " + tried};
}

}  // namespace flurry::ssh
