#pragma once

#include <string>
#include <string_view>

#include "cli/ssh/known_hosts.h"
#include "cli/ssh/ssh_config.h"

namespace flurry::ssh {

// What is said of a host's key that isn't trusted: kRefused, with what to do. Pure.

// "ED25519 key SHA256:…"
std::string shown_key(std::string_view blob);

// `shown`: the key that the host shows, as shown_key() says it.
Error unknown_key(const SshConfig& config, const std::string& shown);
Error changed_key(const SshConfig& config, const KnownKey& on_file, const std::string& shown);
Error revoked_key(const std::string& name, const KnownKey& on_file, std::string_view blob);
Error other_than_seen(const SshConfig& config, std::string_view before, std::string_view now);

}  // namespace flurry::ssh
