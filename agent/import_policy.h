#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/nix/signature.h"
#include "core/time.h"

namespace flurry::agent {

// Which paths a host takes from a controller that may log in to it: all, or those that carry a signature by a
// key that the host trusts, whatever its nix.conf says.
struct ImportPolicy {
  bool require_signatures = false;
  std::vector<nix::PublicKey> keys;  // looked at only where signatures are required
};

// Where the policy is: a file of the host's own, {"requireSignatures": true, "trustedPublicKeys":
// ["name:…"]}.
inline constexpr const char* kPolicyFile = "/etc/flurry/agent.json";

// Gives the settings of the host's Nix as JSON, as `nix show-config --json` prints them.
using NixSettings = std::function<Result<std::string>()>;

// The policy in `file`; without the file that of nobody: everything is taken. Without trustedPublicKeys,
// Nix's own trusted-public-keys hold. What can't be read or isn't understood is kRefused: an import must not
// begin.
Result<ImportPolicy> load_policy(const std::string& file, const NixSettings& settings);
Result<std::string> nix_settings();

// What load_policy() makes of a file's text.
Result<ImportPolicy> parse_policy(std::string_view text, const NixSettings& settings);

// kRefused, with what to do, unless the policy takes the path, whose name the caller adds.
Result<void> admit(const ImportPolicy& policy, const nix::PathInfo& info);

}  // namespace flurry::agent
