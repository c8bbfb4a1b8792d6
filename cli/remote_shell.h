#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flurry {

// `text` as one word of a POSIX shell.
std::string shell_quote(std::string_view text);

// A command line that runs `script` by sh as root: directly when the remote user is root, through
// `escalation` otherwise. Any login shell understands it (sh, bash, zsh, fish, tcsh, nushell): shells differ
// in what a quote or a backslash within quotes means, so the script comes in base64.
std::string as_root(std::string_view script, const std::vector<std::string>& escalation);

}  // namespace flurry
