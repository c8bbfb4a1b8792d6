#pragma once

#include <string>

namespace flurry::eval {

// What a user may do next when Nix could not read the flake, as a line of its own ("\n(...)"), or empty where
// Nix's own words say it. Looks whether the files are there that make a hive or a configuration without
// flake.
std::string flake_hint(const std::string& flake_ref, const std::string& nix_message);

}  // namespace flurry::eval
