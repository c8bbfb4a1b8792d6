#include "agent/run_switch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "agent/file_io.h"
#include "agent/file_lock.h"
#include "agent/log.h"

namespace flurry::agent {
namespace {

constexpr int kPollMs = 100;
constexpr int kCouldNotRun = 127;

// The exit code; -1 where a signal ended it.
int run_program(const std::vector<std::string>& argv) {
  std::vector<char*> words;
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return kCouldNotRun;
  if (pid == 0) {
    ::execvp(words[0], words.data());
    ::_exit(kCouldNotRun);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

void notify_ready() {
  const char* path = ::getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == '\0') return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t length = std::strlen(path);
  if (length < sizeof address.sun_path) {
    std::memcpy(address.sun_path, path, length);
    if (path[0] == '@') address.sun_path[0] = '\0';
    const sys::Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    constexpr std::string_view kReady = "READY=1";
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
    [[maybe_unused]] const ssize_t n = ::sendto(fd.get(), kReady.data(), kReady.size(), MSG_NOSIGNAL,
                                                reinterpret_cast<const sockaddr*>(&address), size);
  }
  ::unsetenv("NOTIFY_SOCKET");  // not for our children
}

int run_switch_main(const std::string& status_file, const std::vector<std::string>& argv) {
  const auto lock = FileLock::take(status_file + ".lock");
  if (!lock) {
    log_warning(lock.error().message);
    return 1;
  }
  notify_ready();
  const int code = run_program(argv);
  if (code < 0) return 1;  // no status: it was killed
  const auto written = write_file_durably(status_file, std::to_string(code) + "\n");
  if (!written)
    log_warning("the switch exited with " + std::to_string(code) + ", but " + written.error().message);
  return written ? 0 : 1;
}

Result<SwitchExit> wait_for_switch(const std::string& status_file, std::stop_token stop) {
  for (;;) {
    if (stop.stop_requested()) return Error{ErrorKind::kCancelled, "no longer waiting for the switch"};
    ASSIGN_OR_RETURN(const bool runs, FileLock::is_held(status_file + ".lock"));
    if (!runs) break;
    ::poll(nullptr, 0, kPollMs);
  }
  // The status is written before the lock is let go.
  if (::access(status_file.c_str(), F_OK) != 0 && errno == ENOENT) return SwitchExit{};
  ASSIGN_OR_RETURN(const auto text, read_file(status_file, 16));
  int code = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code);
  if (error != std::errc() || *end != '\n' || code < 0 || code > 255)
    return Error{ErrorKind::kInvalidInput, status_file + " does not hold an exit code"};
  return SwitchExit{code, ""};
}

}  // namespace flurry::agent
