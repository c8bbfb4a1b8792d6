#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/names.h"

namespace flurry::agent {

struct BuildRequest {
  DeploymentId deployment;
  StorePath drv;                                              // is in this host's store
  StorePath out;                                              // what it must give
  std::vector<std::pair<std::string, std::string>> settings;  // of Nix
};

// The verb `build DEPLOYMENT DRV OUT [NAME VALUE]...`; nothing where the words are not of that kind.
std::optional<BuildRequest> parse_build_words(const std::vector<std::string>& words);

// Builds on this host. Nix's log (internal-json) goes to the standard output, line by line, and what else
// there is to say to the standard error. The end of the standard input ends the build: then nobody waits for
// it any more. On success (0) the output is valid, synced to disk and held by a GC root of the deployment.
int run_build(const BuildRequest& request);

}  // namespace flurry::agent
