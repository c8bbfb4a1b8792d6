#include "core/sys/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "core/sys/clock.h"
#include "core/sys/fd.h"
#include "core/sys/spawn.h"

namespace flurry::sys {
namespace {

constexpr size_t kStderrTail = 64 << 10;
constexpr size_t kReadChunk = 64 << 10;
constexpr Millis kKillAfterTerm{2000};
// A program may close its output long before it ends; waitpid has no deadline, so ask this often.
constexpr Millis kReapInterval{20};
constexpr Millis kTurnMax{100};
constexpr Millis kWatchInterval{50};

// The child's side of the conversation, fed and drained by one poll loop.
class Conversation {
 public:
  Conversation(const Command& command, Fd in, Fd out, Fd err)
      : command_(command), in_(std::move(in)), out_(std::move(out)), err_(std::move(err)) {
    if (command_.standard_input.empty()) in_.reset();
  }

  bool is_open() const { return out_.is_open() || err_.is_open(); }
  bool overflowed() const { return overflowed_; }

  void turn(Millis wait) {
    std::array<pollfd, 3> polls{{{in_.get(), POLLOUT, 0}, {out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}}};
    if (::poll(polls.data(), polls.size(), static_cast<int>(wait.count())) <= 0) return;
    if (polls[0].revents != 0) feed();
    if (polls[1].revents != 0) drain(out_, [this](std::string_view bytes) { take_output(bytes); });
    if (polls[2].revents != 0) drain(err_, [this](std::string_view bytes) { take_error(bytes); });
  }

  void finish(CommandResult& result) {
    if (!line_.empty() && command_.on_stderr_line) command_.on_stderr_line(line_);
    result.standard_output = std::move(output_);
    result.standard_error = std::move(error_);
  }

 private:
  void feed() {
    const std::string_view rest = std::string_view(command_.standard_input).substr(fed_);
    const ssize_t n = ::send(in_.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) fed_ += static_cast<size_t>(n);
    if (fed_ == command_.standard_input.size() || (n < 0 && errno != EAGAIN && errno != EINTR)) in_.reset();
  }

  template <typename Take>
  void drain(Fd& fd, Take take) {
    std::array<char, kReadChunk> buffer;
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n > 0) take(std::string_view(buffer.data(), static_cast<size_t>(n)));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) fd.reset();
  }

  void take_output(std::string_view bytes) {
    if (output_.size() + bytes.size() > command_.output_limit)
      overflowed_ = true;
    else
      output_ += bytes;
  }

  void take_error(std::string_view bytes) {
    error_ += bytes;
    if (error_.size() > 2 * kStderrTail) error_.erase(0, error_.size() - kStderrTail);
    if (!command_.on_stderr_line) return;
    for (char c : bytes) {
      if (c != '\n' && line_.size() < kStderrTail) {
        line_ += c;
        continue;
      }
      command_.on_stderr_line(line_);
      line_.clear();
    }
  }

  const Command& command_;
  Fd in_, out_, err_;
  size_t fed_ = 0;
  std::string output_, error_, line_;
  bool overflowed_ = false;
};

Result<void> reap(pid_t pid, TimePoint deadline, const std::stop_token& stop, CommandResult& result) {
  for (bool killed = false;;) {
    if (stop.stop_requested()) deadline = std::min(deadline, now());
    int status = 0;
    const pid_t done = ::waitpid(pid, &status, WNOHANG);
    if (done == pid) {
      if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
      if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
      if (killed && stop.stop_requested()) return Error{ErrorKind::kCancelled, "was stopped"};
      if (killed) return Error{ErrorKind::kTimedOut, "did not end before its deadline and was stopped"};
      return {};
    }
    if (done < 0 && errno != EINTR) return errno_error("waitpid", errno);
    if (now() >= deadline + (killed ? kKillAfterTerm : Millis(0))) {
      ::kill(-pid, killed ? SIGKILL : SIGTERM);
      killed = true;
    }
    ::poll(nullptr, 0, static_cast<int>(kReapInterval.count()));
  }
}

std::string last_lines(std::string_view text) {
  constexpr size_t kKeep = 2000;
  while (text.ends_with('\n')) text.remove_suffix(1);
  if (text.size() > kKeep) text.remove_prefix(text.size() - kKeep);
  return std::string(text);
}

}  // namespace

Result<CommandResult> run(const Command& command, TimePoint deadline) {
  ASSIGN_OR_RETURN(auto in, socket_pair());
  int out[2];
  int err[2];
  if (::pipe2(out, O_CLOEXEC) != 0) return errno_error("pipe", errno);
  Fd out_read(out[0]), out_write(out[1]);
  if (::pipe2(err, O_CLOEXEC) != 0) return errno_error("pipe", errno);
  Fd err_read(err[0]), err_write(err[1]);

  pid_t pid = -1;
  const int error = spawn({.program = command.argv[0],
                           .argv = command.argv,
                           .environment = command.environment,
                           .standard_input = in.second.get(),
                           .standard_output = out_write.get(),
                           .standard_error = err_write.get()},
                          pid);
  if (error != 0) return errno_error("start " + command.argv[0], error);
  in.second.reset();
  out_write.reset();
  err_write.reset();

  CommandResult result;
  Conversation conversation(command, std::move(in.first), std::move(out_read), std::move(err_read));
  const Millis turn_max = command.watch ? kWatchInterval : kTurnMax;
  while (conversation.is_open() && !conversation.overflowed() && !command.stop.stop_requested() &&
         now() < deadline) {
    conversation.turn(std::clamp<Millis>(deadline - now(), Millis(0), turn_max));
    if (command.watch && !command.watch(pid)) {
      result.ended_by_watch = true;
      ::kill(-pid, SIGKILL);
      break;
    }
    // A grandchild may keep the pipe open after the program itself has ended.
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == pid) {
      conversation.turn(Millis(0));
      conversation.turn(Millis(0));
      if (conversation.is_open()) conversation.turn(kReapInterval);
      break;
    }
  }
  const auto ended = reap(pid, conversation.overflowed() ? now() : deadline, command.stop, result);
  conversation.finish(result);
  if (conversation.overflowed())
    return Error{ErrorKind::kFailed,
                 command.argv[0] + ": printed more than " + std::to_string(command.output_limit) + " bytes"};
  if (!ended) return ended.error().with_context(command.argv[0]);
  return result;
}

Result<std::string> run_checked(const Command& command, TimePoint deadline) {
  ASSIGN_OR_RETURN(auto result, run(command, deadline));
  if (result.exit_code == 0) return std::move(result.standard_output);
  return Error{ErrorKind::kFailed,
               command.argv[0] + ": " + describe_exit(result) + ": " + last_lines(result.standard_error)};
}

std::string describe_exit(const CommandResult& result) {
  if (result.signal != 0)
    return "signal " + std::to_string(result.signal) + " (" + ::strsignal(result.signal) + ")";
  return "exit code " + std::to_string(result.exit_code);
}

}  // namespace flurry::sys
