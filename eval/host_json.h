#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/fleet.h"
#include "core/result.h"

namespace flurry::eval {

// Reads one host's attributes, or `defaults`, over what `into` already holds: per field; profiles and
// checks by name.
Result<void> read_host(const nlohmann::json& value, const std::string& place, HostConfig& into);

// Reads `rollout`.
Result<void> read_rollout(const nlohmann::json& value, const std::string& place, RolloutConfig& into);

// What can be judged only when defaults and host are merged; fills in what stands for "not set".
Result<void> finish_host(const std::string& place, HostConfig& host);

}  // namespace flurry::eval
