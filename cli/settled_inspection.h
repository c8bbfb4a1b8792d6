#pragma once

#include "cli/rpc/agent_client.h"
#include "core/fleet.h"

namespace flurry {

// Inspects a host; where its agent is just finishing an old story (it was started by our call and found
// an unfinished journal, or a rollback is under way), waits a moment for the end, which is worth more.
Result<Inspection> inspect_settled(AgentClient& agent, const HostConfig& host, TimePoint deadline);

}  // namespace flurry
