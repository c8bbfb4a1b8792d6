#pragma once

#include <string_view>

#include "core/fleet.h"
#include "core/result.h"
#include "eval/hosts_json.h"

namespace flurry::eval {

// Reads the `flurry` output as JSON, in which each profiles.*.path that is set has become `true`.
// Strict: an unknown field, a wrong type or a value out of bounds is kInvalidInput, naming the place
// in the flake: a host's own error where the host says it, else everybody's, all mistakes together. What is
// legal and not built yet is kUnsupported (not_supported.h). Fills hosts and rollout; flake_ref, eval_ref and
// revision are the caller's.
Result<Fleet> parse_fleet_json(std::string_view json, const Reading& reading = {});

// A fleet of these hosts with every default: a flake with nixosConfigurations alone. `json` is the
// list of their names.
Result<Fleet> parse_names_json(std::string_view json);

}  // namespace flurry::eval
