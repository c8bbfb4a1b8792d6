#pragma once

#include <string_view>

#include "core/fleet.h"
#include "core/result.h"
#include "eval/eval_place.h"
#include "eval/hosts_json.h"

namespace flurry::eval {

// Nix that takes the output `colmenaHive` and gives `meta` and the names of its nodes as JSON.
std::string colmena_expression();

// Where a node's `deployment` is asked for ("settings", or "tags" alone); of `deployment.keys` only the
// names. It forces the node's modules as far as `deployment` needs them.
EvalPlace colmena_node();

// colmena's hive as a fleet (its schema "v0.5"). A node whose targetHost is null has no address.
// kInvalidInput names the place; kUnsupported: deployment.keys and others. A node's are its own.
Result<Fleet> parse_colmena_json(std::string_view json, const Reading& reading = {});

}  // namespace flurry::eval
