// Finding the daemon.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/nix/daemon.h"
#include "core/nix/daemon_process.h"
#include "core/sys/clock.h"

namespace flurry::nix {
namespace {

constexpr const char* kStateDir = "/nix/var/nix";
constexpr const char* kSocketInState = "/daemon-socket/socket";
constexpr int kBacklogFullWaitMs = 20;

std::string environment_or(const char* name, const std::string& fallback) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : fallback;
}

// Nothing when no daemon listens there.
Result<std::optional<sys::Fd>> connect_unix(const std::string& path, TimePoint deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Error{ErrorKind::kInvalidInput, "the Nix daemon's socket path is too long: " + path};
  std::memcpy(address.sun_path, path.data(), path.size());
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return sys::errno_error("socket", errno);
  for (;;) {
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
      return std::optional<sys::Fd>(std::move(fd));
    if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR) return std::optional<sys::Fd>();
    if (errno == EACCES || errno == EPERM)
      return Error{ErrorKind::kRefused, "connect to the Nix daemon at " + path + ": " + std::strerror(errno)};
    if (errno != EAGAIN && errno != EINTR) return sys::errno_error("connect to " + path, errno);
    if (sys::now() >= deadline)
      return Error{ErrorKind::kTimedOut, "the Nix daemon at " + path + " did not accept a connection"};
    ::poll(nullptr, 0, kBacklogFullWaitMs);
  }
}

}  // namespace

Result<Daemon> Daemon::connect_socket(const std::string& socket_path, TimePoint deadline) {
  ASSIGN_OR_RETURN(auto fd, connect_unix(socket_path, deadline));
  if (!fd) return Error{ErrorKind::kFailed, "no Nix daemon listens at " + socket_path};
  return open(std::move(*fd), deadline);
}

Result<Daemon> Daemon::spawn(TimePoint deadline) {
  ASSIGN_OR_RETURN(auto ends, sys::socket_pair());
  ASSIGN_OR_RETURN(auto process, DaemonProcess::start(ends.second));
  ends.second.reset();
  Daemon daemon(std::move(ends.first), std::move(process));
  const auto shaken = daemon.shake_hands(deadline);
  if (shaken) return daemon;
  const std::string said = daemon.process_->stderr_tail();
  Error error = shaken.error().with_context("nix-daemon --stdio");
  if (!said.empty()) error.message += ": " + said;
  return error;
}

Result<Daemon> Daemon::connect(TimePoint deadline) {
  const std::string state = environment_or("NIX_STATE_DIR", kStateDir);
  const std::string path = environment_or("NIX_DAEMON_SOCKET_PATH", state + kSocketInState);
  ASSIGN_OR_RETURN(auto fd, connect_unix(path, deadline));
  if (!fd) return spawn(deadline);
  return open(std::move(*fd), deadline);
}

}  // namespace flurry::nix
