#pragma once

#include "agent/paths.h"
#include "core/result.h"
#include "core/sys/fd.h"

namespace flurry::agent {

// The verb that a controller runs over ssh: makes sure that the daemon runs, then carries bytes between
// the standard streams and its socket. Returns the exit code.
int run_connect(const Paths& paths);

// A connection to the daemon of this build; starts it, or replaces an idle one of another build.
Result<sys::Fd> dial_daemon(const Paths& paths);

// Carries bytes both ways, 64 KiB each on their way at most, until the socket's side has closed and all
// it sent is written, or either side fails. The end of `in` is passed on as a half-close.
void bridge(int in, int out, int socket);

}  // namespace flurry::agent
