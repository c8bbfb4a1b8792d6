#pragma once

#include "agent/host.h"

namespace flurry::agent {

// The whole program flurry-agent, but for the host that it acts on. Returns the process's exit code.
int run_verb(int argc, char** argv, MakeHost make_host);

}  // namespace flurry::agent
