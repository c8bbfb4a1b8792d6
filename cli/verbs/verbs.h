#pragma once

#include "cli/verbs/context.h"

namespace flurry {

// One function for each verb, in the file of its name. Each returns the process's exit code.
int run_deploy(Context& context);
int run_hosts(Context& context);
int run_eval(Context& context);
int run_status(Context& context);
int run_rollback(Context& context);
int run_check(Context& context);

}  // namespace flurry
