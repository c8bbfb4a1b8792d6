#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "core/activation.h"
#include "core/result.h"

namespace flurry::agent {

// What stands inside a switch's own unit: holds `status_file`.lock while it lives, runs the program, and
// writes its exit code durably into `status_file`. So the end of a switch is known to whoever asks later,
// whatever died meanwhile: a status says how it ended, a held lock that it runs, neither that it was killed.
// Returns the wrapper's own exit code.
int run_switch_main(const std::string& status_file, const std::vector<std::string>& argv);

// Waits for the switch behind `status_file` to end; no exit code where it was killed, or never was.
// An error when `stop` is asked for first.
Result<SwitchExit> wait_for_switch(const std::string& status_file, std::stop_token stop);

// Tells systemd that a Type=notify unit is ready. Silent where nobody asked.
void notify_ready();

}  // namespace flurry::agent
