#include "cli/remote_build.h"

#include <sys/socket.h>

#include <algorithm>

#include "cli/copy/copy.h"
#include "core/sys/clock.h"
#include "core/transfer/stream_mark.h"
#include "eval/build_log.h"

namespace flurry {
namespace {

constexpr size_t kLineMax = 256 << 10;
constexpr Millis kStartTimeout{30'000};
// How long a stop may wait to be seen.
constexpr Millis kTick{200};
constexpr Millis kExitTimeout{10'000};

std::string command_of(const HostSession& session, const DeploymentId& deployment,
                       const ProfileDerivation& derivation) {
  return session.agent_command("build " + deployment.str() + " " + derivation.drv.str() + " " +
                               derivation.out.str());
}

// Until the build's output ends.
Result<void> read_lines(int fd, eval::BuildLog& log, TimePoint deadline, const std::stop_token& stop) {
  std::string pending;
  bool has_begun = false;
  std::vector<char> buffer(64 << 10);
  for (;;) {
    if (stop.stop_requested()) return Error{ErrorKind::kCancelled, "stopped by the user"};
    const auto n = sys::read_some(fd, buffer, std::min(deadline, sys::now() + kTick));
    if (!n && n.error().kind == ErrorKind::kTimedOut && sys::now() < deadline) continue;
    if (!n) return n.error();
    if (*n == 0) return {};
    pending.append(buffer.data(), *n);
    for (size_t end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
      const auto line = std::string_view(pending).substr(0, end + 1);
      // What a login shell says is no line of the build's.
      if (has_begun) log.take_line(line.substr(0, end));
      has_begun |= line.ends_with(transfer::kStreamMark);
      pending.erase(0, end + 1);
    }
    if (pending.size() > kLineMax) pending.clear();
  }
}

// What is no failure of the build itself is the host's or the connection's.
Error of_host(const Error& error) {
  const bool is_told = error.kind == ErrorKind::kNoSpace || error.kind == ErrorKind::kCancelled ||
                       error.kind == ErrorKind::kUnreachable;
  const auto kind = error.kind == ErrorKind::kTimedOut ? ErrorKind::kUnreachable : ErrorKind::kRefused;
  return {is_told ? error.kind : kind, error.message};
}

}  // namespace

Result<void> build_on_target(HostSession& session, const DeploymentId& deployment,
                             const ProfileDerivation& derivation, nix::Daemon& store,
                             const std::string& settings, const copy::SigningKey* key,
                             const std::function<void(std::string_view)>& on_line, TimePoint deadline,
                             const std::stop_token& stop) {
  const auto sent = copy::copy_closure(session.connection(), session.agent_commands(), deployment,
                                       derivation.drv, store, {.key = key}, {});
  if (!sent) return of_host(sent.error().with_context("build on the host: the derivation"));
  auto started =
      session.connection().exec(command_of(session, deployment, derivation), sys::now() + kStartTimeout);
  if (!started) return of_host(started.error().with_context("build on the host"));
  const auto process = *std::move(started);
  // A host that doesn't take them says why by its exit.
  static_cast<void>(sys::write_all(process->io().get(), settings + '\0', sys::now() + kStartTimeout));
  std::string why;
  eval::BuildLog log(on_line, [&](const eval::BuildFailure& failure) {
    if (why.empty()) why = failure.describe(failure.drv == derivation.drv.str());
  });
  const auto read = read_lines(process->io().get(), log, deadline, stop);
  ::shutdown(process->io().get(), SHUT_WR);
  if (!read) return read.error().with_context("build on the host");
  const auto exit = process->wait(sys::now() + kExitTimeout);
  if (!exit) return of_host(exit.error().with_context("build on the host"));
  if (exit->exit_code == 0) return {};
  if (why.empty()) why = log.last_error();
  if (why.empty()) why = exit->standard_error.empty() ? "it ended without a message" : exit->standard_error;
  while (why.ends_with('\n')) why.pop_back();
  return Error{ErrorKind::kFailed, "build on the host: " + why};
}

}  // namespace flurry
