#pragma once

#include <string_view>

#include "core/fleet.h"
#include "core/result.h"

namespace flurry::eval {

// Nix that takes the output `colmenaHive` and gives the names, `meta` and `deployment` of its nodes as JSON;
// of `deployment.keys` only the names. It forces each node's modules as far as `deployment` needs them.
extern const char* const kColmenaExpression;

// colmena's hive as a fleet (its schema "v0.5"). A node whose targetHost is null can't be reached over SSH
// and is left out, as colmena does. kInvalidInput names the place; kUnsupported: deployment.keys and others.
Result<Fleet> parse_colmena_json(std::string_view json);

}  // namespace flurry::eval
