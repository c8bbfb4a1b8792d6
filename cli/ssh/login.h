#pragma once

#include "cli/ssh/ssh_config.h"
#include "cli/ssh/ssh_loop.h"

namespace flurry::ssh {

// Logs a session in with the keys that OpenSSH would try, in its order: agent keys that the
// configuration names, other agent keys, key files. Runs in the dialling thread, which also talks to
// the agent. An error says what was tried and what to do. kUnsupported: the ssh program may still have keys,
// or ways to log in, that libssh2 doesn't; kRefused: it would get no further.
Result<void> log_in(SshLoop& loop, SessionId session, const SshConfig& config, TimePoint deadline);

}  // namespace flurry::ssh
