#pragma once

#include <vector>

#include "cli/rpc/agent_client.h"

namespace flurry::v1 {
class CheckReply;
class HistoryReply;
class InspectReply;
class Observation;
}  // namespace flurry::v1

namespace flurry {

// What an agent answers, as the controller takes it: a host may be hostile, and what decides is checked.
// Free text stays as it came; whoever shows it cleans it. kInvalidInput. Any thread.

Result<AgentView> to_view(const v1::Observation& o);
Result<Inspection> to_inspection(const v1::InspectReply& reply, long long now_unix_ms);
std::vector<PastDeployment> to_history(const v1::HistoryReply& reply);
std::vector<CheckReport> to_reports(const v1::CheckReply& reply, FailedUnits failed_units);

}  // namespace flurry
