#include "core/nix/daemon_process.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>

#include "core/nix/ansi.h"
#include "core/sys/clock.h"
#include "core/sys/spawn.h"

namespace flurry::nix {
namespace {

// Looked up in PATH, then where NixOS and the installer put it: a service's PATH may lack them.
constexpr const char* kPrograms[] = {"nix-daemon", "/run/current-system/sw/bin/nix-daemon",
                                     "/nix/var/nix/profiles/default/bin/nix-daemon"};
constexpr Millis kEndTimeout{5000};
constexpr Millis kReapInterval{5};
constexpr size_t kStderrTail = 4096;

}  // namespace

Result<std::unique_ptr<DaemonProcess>> DaemonProcess::start(const sys::Fd& stream) {
  // A file in memory, not a pipe: nobody reads it while the daemon works.
  sys::Fd error_file(::memfd_create("nix-daemon-stderr", MFD_CLOEXEC));
  if (!error_file.is_open()) return sys::errno_error("memfd_create", errno);
  int error = ENOENT;
  pid_t pid = -1;
  for (const char* program : kPrograms) {
    error = sys::spawn({.program = program,
                        .argv = {"nix-daemon", "--stdio"},  // Nix chooses what it is by argv[0]
                        .standard_input = stream.get(),
                        .standard_output = stream.get(),
                        .standard_error = error_file.get()},
                       pid);
    if (error == 0) return std::unique_ptr<DaemonProcess>(new DaemonProcess(pid, std::move(error_file)));
    if (error != ENOENT) break;
  }
  return sys::errno_error("start nix-daemon", error);
}

DaemonProcess::~DaemonProcess() {
  const TimePoint deadline = sys::now() + kEndTimeout;
  for (bool killed = false;;) {
    const pid_t done = ::waitpid(pid_, nullptr, killed ? 0 : WNOHANG);
    if (done == pid_ || (done < 0 && errno != EINTR)) return;
    if (!killed && sys::now() >= deadline) {
      ::kill(pid_, SIGKILL);
      killed = true;
    }
    if (!killed) ::poll(nullptr, 0, static_cast<int>(kReapInterval.count()));
  }
}

std::string DaemonProcess::stderr_tail() const {
  struct stat status {};
  if (::fstat(error_file_.get(), &status) != 0) return "";
  std::string text(std::min<size_t>(kStderrTail, static_cast<size_t>(status.st_size)), '\0');
  const ssize_t n =
      ::pread(error_file_.get(), text.data(), text.size(), status.st_size - static_cast<off_t>(text.size()));
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  while (text.ends_with('\n')) text.pop_back();
  return strip_ansi(text);
}

}  // namespace flurry::nix
