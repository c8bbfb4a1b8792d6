#pragma once

#include <string>
#include <vector>

#include "cli/ssh/known_hosts.h"
#include "cli/ssh/ssh_config.h"

namespace flurry::ssh {

// The algorithms to offer: first those of the keys on file, so that a host known by its ed25519 key
// isn't asked for another; all of ours when nothing is on file. Empty when keys are on file and
// libssh2 can use none of them (only RSA, security keys, certificates): then the ssh program must.
std::string host_key_algorithms(const std::vector<KnownKey>& known);

// Whether the host may be spoken to. An unknown key is learned when the configuration says so; a
// changed or revoked one is refused whatever it says. kRefused with what to do. Any thread.
Result<void> check_host_key(const SshConfig& config, const std::vector<KnownKey>& known,
                            const std::string& offered_blob);

// The file that a new key goes to; the user may have configured none.
Result<void> learn_host_key(const SshConfig& config, const std::string& name, const std::string& blob);

}  // namespace flurry::ssh
