#pragma once

#include <string_view>

#include "core/fleet.h"
#include "core/result.h"
#include "eval/eval_place.h"
#include "eval/hosts_json.h"

namespace flurry::eval {

// Nix that takes the output `deploy` and gives what is set for all nodes, and their names, as JSON.
std::string deploy_rs_expression();

// Where a node's "settings" are asked for, without forcing a profile's path or an attribute that deploy-rs
// doesn't know.
EvalPlace deploy_rs_node();

// deploy-rs's output as a fleet (its schema: interface.json and src/data.rs). What is set at several levels
// is taken from the profile, then the node, then the top; sshOpts add up in that order. A node's profiles
// are reached over one connection: the system's settings count, else those of the first profile.
// An attribute that deploy-rs doesn't know is an error where it is nearly one that it does, and ignored
// otherwise, as deploy-rs ignores it. kInvalidInput names the place; what a node says is its own error.
Result<Fleet> parse_deploy_rs_json(std::string_view json, const Reading& reading = {});

}  // namespace flurry::eval
