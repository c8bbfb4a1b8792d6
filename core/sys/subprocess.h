#pragma once

#include <sys/types.h>

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/time.h"

namespace flurry::sys {

struct Command {
  std::vector<std::string> argv;         // argv[0] is looked up in PATH
  std::vector<std::string> environment;  // "NAME=value", added to or replacing ours
  std::string standard_input;
  size_t output_limit = 64u << 20;  // of stdout; more is an error
  // Called with each line of stderr as it comes, without its newline. May be empty.
  std::function<void(std::string_view)> on_stderr_line;
  // Called every 50 ms or oftener while the program runs, and after each piece of its output; false kills
  // its group at once, which is a result (`ended_by_watch`). May be empty.
  std::function<bool(pid_t)> watch;
  // Ends the program as its deadline would; the result is then kCancelled. Default: never.
  std::stop_token stop;
};

struct CommandResult {
  int exit_code = -1;  // -1 when ended by a signal
  int signal = 0;
  bool ended_by_watch = false;
  std::string standard_output;
  std::string standard_error;  // the last 64 KiB
};

// Runs a program in its own process group and waits for it. At `deadline` the group gets SIGTERM,
// then SIGKILL two seconds later, and the result is kTimedOut. A program that exits non-zero is a
// value, not an error; one that could not be started is an error. Any thread.
Result<CommandResult> run(const Command& command, TimePoint deadline);

// As run(), but a non-zero exit is an error whose message ends with the last lines of stderr.
Result<std::string> run_checked(const Command& command, TimePoint deadline);

// "exit code 1", "signal 9 (Killed)".
std::string describe_exit(const CommandResult& result);

}  // namespace flurry::sys
