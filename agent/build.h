#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/names.h"
#include "core/result.h"
#include "core/time.h"

namespace flurry::agent {

struct BuildRequest {
  DeploymentId deployment;
  StorePath drv;  // is in this host's store
  StorePath out;  // what it must give
};

// The verb `build DEPLOYMENT DRV OUT`; nothing where the words are not of that kind.
std::optional<BuildRequest> parse_build_words(const std::vector<std::string>& words);

// Builds on this host. The standard input brings settings of Nix first, as text for NIX_CONFIG that ends with
// a zero byte: they may hold secrets, and every user of the host can read a command line. Its end ends the
// build: then nobody waits for it any more. Nix's log (internal-json) goes to the standard output, line by
// line, and what else there is to say to the standard error. On success (0) the output is valid, synced to
// disk and held by a GC root of the deployment.
int run_build(const BuildRequest& request);

// What is read from `fd` up to a zero byte. kInvalidInput where there is none in 64 KiB, kFailed at the end
// of the stream.
Result<std::string> read_build_settings(int fd, TimePoint deadline);

}  // namespace flurry::agent
