#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/health_policy.h"
#include "core/result.h"

namespace flurry::eval {

// Reads a `health` attribute set over what `into` already holds: per field, checks per name.
Result<void> read_health(const nlohmann::json& value, const std::string& place, HealthPolicy& into);

// What can be judged only when all layers are merged: every check has a kind, minHealthy fits.
Result<void> validate_health(const HealthPolicy& health, const std::string& place);

}  // namespace flurry::eval
