#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/rpc/agent_client.h"
#include "core/fleet.h"
#include "core/host_deployment.h"
#include "core/result.h"

namespace flurry {

// Where `flurry rollback` takes one host.
struct RollbackChoice {
  std::vector<FixedProfile> profiles;  // in the order of their activation; never empty
  std::vector<std::string> notes;      // what a person should know of each, in words
};

// Each profile that the host declares: to its last committed generation before the present one, on from where
// an earlier rollback landed; with `to` only the system, to that generation. `inspection` holds the
// generations, `past` the host's deployments, newest first. A profile with nothing before it stays and is
// named. kInvalidInput where no profile has anything to go back to. Any thread.
Result<RollbackChoice> choose_rollback(const HostConfig& host, const Inspection& inspection,
                                       const std::vector<PastDeployment>& past,
                                       std::optional<unsigned long long> to);

}  // namespace flurry
