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

// What the agent would refuse after the copy is refused before it.
Result<void> check_profile_name(const std::string& name, const std::string& place);
Result<void> check_profile_user(const std::string& user, const std::string& place);

// What can be judged only when defaults and host are merged; fills in what stands for "not set".
Result<void> finish_host(const std::string& place, HostConfig& host);

}  // namespace flurry::eval
