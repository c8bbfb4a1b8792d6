#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/result.h"

namespace flurry {

// The user's settings of Nix (`--option NAME VALUE` and the like), in the order in which they were given.
using NixSettingList = std::vector<std::pair<std::string, std::string>>;

// Those of them that a build on a host is told. Left out is what only evaluation needs, above all what may be
// a secret (access-tokens, netrc-file), and what is about this machine: its files, and by whom and on how
// many cores it builds.
NixSettingList settings_for_hosts(const NixSettingList& all);

// As text for NIX_CONFIG, a line each. kInvalidInput where one can't be said in it.
Result<std::string> nix_config_text(const NixSettingList& settings);

}  // namespace flurry
