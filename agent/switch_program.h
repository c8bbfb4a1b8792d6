#pragma once

#include <string>

#include "core/names.h"

namespace flurry::agent {

// Whether a system's switch-to-configuration would say that its activation script failed: it exits with 4
// where a unit failed too, and then only its words tell the two apart (nixpkgs, switch-to-configuration-ng).
// Looks for the sentence in the program, and in those that a wrapper around it names. Any thread.
bool tells_failed_activation(const std::string& root, const StorePath& system);

}  // namespace flurry::agent
