#pragma once

#include <string_view>

namespace flurry::agent {

// Whether a deploy-rs-activate of a system does nothing but call its switch-to-configuration, as the one that
// deploy-rs's activate.nixos makes. False also where that can't be told. Any thread.
bool only_switches(std::string_view script);

}  // namespace flurry::agent
