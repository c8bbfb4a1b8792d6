#include "agent/connect.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>

#include "agent/file_io.h"
#include "agent/file_lock.h"
#include "agent/tools.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

constexpr const char* kDaemonUnit = "flurry-agent";
constexpr Millis kReady{10'000};
constexpr Millis kOtherConnect{90'000};  // another `connect` may be stopping and starting the daemon
constexpr int kPauseMs = 20;

std::optional<sys::Fd> try_dial(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return std::nullopt;
  return fd;
}

Result<FileLock> take_turn(const Paths& paths) {
  for (const TimePoint until = sys::now() + kOtherConnect; sys::now() < until; ::poll(nullptr, 0, kPauseMs)) {
    ASSIGN_OR_RETURN(auto lock, FileLock::try_take(paths.connect_lock()));
    if (lock) return *std::move(lock);
  }
  return Error{ErrorKind::kTimedOut, "another connection has been starting the agent for too long"};
}

// It must outlive the ssh session, the switches that it drives, and its own death.
Result<void> start_daemon() {
  ASSIGN_OR_RETURN(const std::string program, own_executable());
  return start_unit(
      {.name = kDaemonUnit,
       .description = "flurry: agent",
       // What a killed agent has started (nix-env, systemd-run) must not act after its successor has gone on.
       .properties = {"Type=notify", "NotifyAccess=main", "Restart=on-failure", "RestartSec=200ms",
                      "StartLimitIntervalSec=0", "KillMode=mixed", "OOMScoreAdjust=-900"},
       .environment = {std::string("PATH=") + kToolPath},
       .argv = {program, "daemon"}});
}

// Whether the running daemon should make room for ours.
Result<bool> is_to_be_replaced(const Paths& paths) {
  ASSIGN_OR_RETURN(const auto ours, file_sha256_hex("/proc/self/exe"));
  const auto theirs = read_file(paths.build_file(), 256);
  if (theirs && *theirs == ours + "\n") return false;
  ASSIGN_OR_RETURN(const bool is_busy, FileLock::is_held(paths.executor_lock()));
  return !is_busy;
}

// One direction of the bridge.
class Flow {
 public:
  Flow(int from, int to) : from_(from), to_(to) {}

  bool wants_read() const { return !ended_ && used_ < sizeof buffer_; }
  bool wants_write() const { return done_ < used_; }
  bool is_over() const { return ended_ && !wants_write(); }

  // False: this direction can't go on.
  bool read() {
    const ssize_t n = ::read(from_, buffer_ + used_, sizeof buffer_ - used_);
    if (n > 0) used_ += static_cast<size_t>(n);
    if (n == 0) ended_ = true;
    return n >= 0 || errno == EINTR || errno == EAGAIN;
  }

  bool write() {
    // No more than a pipe takes at once, since the streams that ssh gives us may be blocking ones.
    const size_t size = std::min<size_t>(used_ - done_, 4096);
    const ssize_t n = ::write(to_, buffer_ + done_, size);
    if (n > 0) done_ += static_cast<size_t>(n);
    if (done_ == used_) done_ = used_ = 0;
    return n >= 0 || errno == EINTR || errno == EAGAIN;
  }

 private:
  const int from_;
  const int to_;
  size_t used_ = 0;
  size_t done_ = 0;
  bool ended_ = false;
  char buffer_[64 << 10];
};

}  // namespace

Result<sys::Fd> dial_daemon(const Paths& paths) {
  RETURN_IF_ERROR(make_private_dir(paths.run()));
  ASSIGN_OR_RETURN(const auto turn, take_turn(paths));
  if (auto running = try_dial(paths.socket())) {
    ASSIGN_OR_RETURN(const bool replace, is_to_be_replaced(paths));
    if (!replace) return *std::move(running);
    const auto stopped = stop_unit(std::string(kDaemonUnit) + ".service");
    if (!stopped) return stopped.error().with_context("replace the agent of another version");
  }
  const auto started = start_daemon();
  // A start fails too where the unit is just being restarted by systemd: what counts is who answers.
  for (const TimePoint until = sys::now() + kReady; sys::now() < until; ::poll(nullptr, 0, kPauseMs))
    if (auto socket = try_dial(paths.socket())) return *std::move(socket);
  if (!started) return started.error().with_context("start the agent");
  return Error{ErrorKind::kTimedOut,
               "the agent was started and does not answer: see journalctl -u flurry-agent"};
}

void bridge(int in, int out, int socket) {
  Flow up(in, socket);
  Flow down(socket, out);
  bool passed_end = false;
  while (!down.is_over()) {
    if (up.is_over() && !passed_end) {
      ::shutdown(socket, SHUT_WR);
      passed_end = true;
    }
    pollfd polls[] = {{up.wants_read() ? in : -1, POLLIN, 0},
                      {up.wants_write() ? socket : -1, POLLOUT, 0},
                      {down.wants_read() ? socket : -1, POLLIN, 0},
                      // Always looked at: a reader that is gone ends the bridge even when nobody speaks.
                      {out, static_cast<short>(down.wants_write() ? POLLOUT : 0), 0}};
    if (::poll(polls, 4, -1) < 0 && errno != EINTR) return;
    if (polls[0].revents != 0 && !up.read()) return;
    if (polls[1].revents != 0 && !up.write()) return;
    if (polls[2].revents != 0 && !down.read()) return;
    if ((polls[3].revents & POLLOUT) != 0 && !down.write()) return;
    if ((polls[3].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0 && (polls[3].revents & POLLOUT) == 0) return;
  }
}

int run_connect(const Paths& paths) {
  ::signal(SIGPIPE, SIG_IGN);
  const auto socket = dial_daemon(paths);
  if (!socket) {
    std::fprintf(stderr, "flurry-agent: %s\n", socket.error().message.c_str());
    return 1;
  }
  bridge(STDIN_FILENO, STDOUT_FILENO, socket->get());
  return 0;
}

}  // namespace flurry::agent
