#pragma once

#include <string_view>

namespace flurry::ssh {

// Whether a connection by libssh2 does what this line of `ssh -G` asks for: because flurry reads it
// (parse_ssh_config), or because the setting means nothing for what flurry does over a connection. Whatever
// isn't on the list isn't done, so a setting that a newer ssh brings goes by the ssh program. `key` is in
// lower case. The keys are those of ssh_config(5), OpenSSH 8.4 to 10. Pure; any thread.
bool is_done_by_libssh(std::string_view key, std::string_view value);

}  // namespace flurry::ssh
