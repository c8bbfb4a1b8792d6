#pragma once

#include <stop_token>
#include <string>

#include "core/activation.h"
#include "core/health_policy.h"

namespace flurry::agent {

// One try of one check, in a process of its own that can't outlive the check's timeout by more than two
// seconds, and nothing that it started outlives it. A stop ends it as the timeout would. `probe_program` is a
// flurry-agent. The message is one line. Any thread.
CheckResult run_check_once(const HealthCheck& check, const std::string& probe_program,
                           std::stop_token stop = {});

}  // namespace flurry::agent
