#include "core/sys/children.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "core/sys/clock.h"

namespace flurry::sys {
namespace {

constexpr int kLookIntervalMs = 20;

// "PID (NAME) STATE PPID PGRP …", and the name may hold anything.
bool is_running_child(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos || name_end + 4 >= line.size()) return false;
  const char state = line[name_end + 2];
  pid_t parent = 0;
  std::from_chars(line.data() + name_end + 4, line.data() + line.size(), parent);
  return parent == ::getpid() && state != 'Z' && state != 'X';
}

std::vector<pid_t> running_children() {
  std::vector<pid_t> out;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc", error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    pid_t pid = 0;
    const auto [rest, wrong] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (wrong == std::errc() && rest == name.data() + name.size() && is_running_child(pid))
      out.push_back(pid);
  }
  return out;
}

void signal_all(const std::vector<pid_t>& children, int number) {
  for (const pid_t pid : children) ::kill(::getpgid(pid) == pid ? -pid : pid, number);
}

}  // namespace

void end_children(Millis patience) {
  const TimePoint until = now() + patience;
  auto children = running_children();
  signal_all(children, SIGTERM);
  while (!children.empty() && now() < until) {
    ::poll(nullptr, 0, kLookIntervalMs);
    children = running_children();
  }
  signal_all(children, SIGKILL);
}

}  // namespace flurry::sys
