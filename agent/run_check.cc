#include "agent/run_check.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>

#include "core/sys/clock.h"
#include "core/sys/fd.h"
#include "core/sys/spawn.h"

namespace flurry::agent {
namespace {

// Together less than the agent waits between SIGTERM and SIGKILL.
constexpr Millis kGrace{1000};
constexpr Millis kKillMax{800};
constexpr Millis kPause{2};
constexpr Millis kLook{500};
// The host may be out of processes or memory for a moment, which says nothing about what is checked.
constexpr Millis kStartMax{2000};
constexpr Millis kStartPause{50};
constexpr int kNotStarted = 127;
constexpr int kNotKilled = 126;

void pause_for(Millis time) { ::poll(nullptr, 0, static_cast<int>(time.count())); }

// The parent's number in /proc/PID/stat, behind the name, which may hold anything; 0 where there is none.
pid_t parent_of(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string line;
  std::getline(file, line);
  const size_t name_end = line.rfind(") ");
  if (name_end == std::string::npos || line.size() < name_end + 4) return 0;
  return static_cast<pid_t>(std::atol(line.c_str() + name_end + 4));
}

// Not every kernel has /proc/PID/task/TID/children.
std::vector<pid_t> children() {
  std::vector<pid_t> out;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc"), &::closedir);
  if (!folder) return out;
  while (const dirent* entry = ::readdir(folder.get()))
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && parent_of(entry->d_name) == ::getpid())
      out.push_back(static_cast<pid_t>(std::atol(entry->d_name)));
  return out;
}

// What a killed child leaves behind becomes ours: there are as many rounds as there are generations. False:
// something is still there.
bool kill_all_below(TimePoint until) {
  for (;; pause_for(kPause)) {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (errno == ECHILD) return true;
    if (sys::now() >= until) return false;
    for (const pid_t child : children()) ::kill(child, SIGKILL);
  }
}

int start(const std::vector<std::string>& argv, pid_t& pid) {
  for (const TimePoint until = sys::now() + kStartMax;; pause_for(kStartPause)) {
    const int error = sys::spawn({.program = argv[0],
                                  .argv = argv,
                                  .environment = {},
                                  .standard_input = STDIN_FILENO,
                                  .standard_output = STDOUT_FILENO,
                                  .standard_error = STDERR_FILENO},
                                 pid);
    const bool may_go_later = error != 0 && sys::errno_error("", error).kind == ErrorKind::kExhausted;
    if (!may_go_later || sys::now() >= until) return error;
  }
}

// How the program ended; nothing where it was asked to and did not.
std::optional<int> await(pid_t program, const sigset_t& signals) {
  std::optional<TimePoint> end_at;
  while (!end_at || sys::now() < *end_at) {
    int status = 0;
    for (pid_t done = 0; (done = ::waitpid(-1, &status, WNOHANG)) > 0;)
      if (done == program) return status;
    const timespec look{0, std::chrono::nanoseconds(kLook).count()};
    const int signal = ::sigtimedwait(&signals, nullptr, &look);
    if (signal <= 0 || signal == SIGCHLD) continue;
    ::kill(-program, SIGTERM);
    if (!end_at) end_at = sys::now() + kGrace;
  }
  return std::nullopt;
}

int end_as(int status) {
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  const int number = WTERMSIG(status);
  ::signal(number, SIG_DFL);
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, number);
  ::sigprocmask(SIG_UNBLOCK, &one, nullptr);
  ::raise(number);
  return 128 + number;
}

}  // namespace

int run_check_main(const std::vector<std::string>& argv) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int s : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&signals, s);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // of the agent
  pid_t program = -1;
  if (const int error = start(argv, program); error != 0) {
    std::puts(sys::errno_error("start " + argv[0], error).message.c_str());
    return kNotStarted;
  }
  const auto status = await(program, signals);
  if (!kill_all_below(sys::now() + kKillMax)) {
    std::puts("it left processes behind that can't be killed");
    return kNotKilled;
  }
  return status ? end_as(*status) : end_as(SIGTERM);
}

}  // namespace flurry::agent
