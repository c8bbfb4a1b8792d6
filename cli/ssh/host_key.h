#pragma once

#include <string>
#include <vector>

#include "cli/ssh/known_hosts.h"
#include "cli/ssh/ssh_config.h"

namespace flurry::ssh {

// How known_hosts names the host that is dialled.
std::string known_name(const SshConfig& config);

// The key that an earlier dial of the run took without a file that vouches for it; empty: none.
std::string seen_key(const SshConfig& config, const SeenHostKeys* seen);

// The algorithms to offer: first those of the keys on file and of `seen`, so that a host known by its ed25519
// key isn't asked for another; all that are `allowed` when nothing is on file. Empty when keys are on file
// and libssh2 can use none of them (only RSA, security keys, certificates): then the ssh program must.
std::string host_key_algorithms(const std::vector<KnownKey>& known, const std::string& seen = "",
                                std::string_view allowed = kHostKeys);

// What is on file of the host that is dialled. As ssh does, a server on another port is also looked for by
// its name alone, where nothing is on file under name and port: only the same key counts there.
struct KnownKeys {
  std::vector<KnownKey> own;
  std::vector<KnownKey> without_port;
};
KnownKeys keys_on_file(const SshConfig& config);

// Whether the host may be spoken to. An unknown key is learned when the configuration says so, and then holds
// for the run, kept or not; a changed or revoked one is refused whatever it says. kRefused with what to do.
// Any thread; `seen` may be null.
Result<void> check_host_key(const SshConfig& config, const KnownKeys& known, const std::string& offered_blob,
                            SeenHostKeys* seen);

// The part of that for a key which no file knows, and which the configuration lets pass.
Result<void> accept_new_key(const SshConfig& config, const std::string& blob, SeenHostKeys* seen);

// The file that a new key goes to; the user may have configured none.
Result<void> learn_host_key(const SshConfig& config, const std::string& name, const std::string& blob);

}  // namespace flurry::ssh
