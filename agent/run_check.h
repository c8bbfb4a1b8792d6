#pragma once

#include <string>
#include <vector>

namespace flurry::agent {

// The verb `run-check -- PROGRAM...`: runs a check's command and ends as it did, by the same exit code or
// signal, once nothing of what it started is left. What puts itself into a session of its own and outlives
// its parent is found too, since the kernel hands it to this process. SIGTERM is passed on; a second later
// whatever is left is killed. Nothing but an exit code of 126 tells of what can't be killed.
int run_check_main(const std::vector<std::string>& argv);

}  // namespace flurry::agent
