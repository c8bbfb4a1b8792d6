#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace flurry::sys {

struct SpawnRequest {
  std::string program;                   // looked up in PATH
  std::vector<std::string> argv;         // argv[0] included
  std::vector<std::string> environment;  // "NAME=value", added to or replacing ours
  int standard_input = -1;
  int standard_output = -1;
  int standard_error = -1;
};

// Starts a program in a process group of its own, so that Ctrl-C on a terminal is for us to handle and not
// for a child in the middle of work, with default signals and nothing blocked. 0, and its `pid`; or an
// errno value. The caller reaps it. Any thread.
int spawn(const SpawnRequest& request, pid_t& pid);

}  // namespace flurry::sys
