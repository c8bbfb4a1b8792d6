#pragma once

#include "agent/host.h"
#include "agent/paths.h"

namespace flurry::agent {

// The agent itself: serves its socket until SIGTERM, SIGINT or ten idle minutes. Returns its exit code.
int run_daemon(const Paths& paths, MakeHost make_host);

// The verb behind the deadman's unit: watches the deployment `id` until its story has ended.
int run_deadman_process(const Paths& paths, const std::string& id, MakeHost make_host);

}  // namespace flurry::agent
