#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/fleet.h"
#include "core/names.h"

namespace flurry {

// The name of the profile that is the NixOS system; any other is a user's.
inline constexpr std::string_view kSystemProfile = "system";

// One profile of a host.
struct ProfileRef {
  std::string name;
  std::string user;  // owns the profile, and runs its activation
  std::string path;  // of its link; empty: where Nix keeps it for that user, which the host knows
  bool needs_activation = false;  // a closure that brings nothing to run is a mistake

  bool is_system() const { return name == kSystemProfile; }
};

// A profile's closure as Nix instantiated it.
struct ProfileDerivation {
  ProfileRef profile;
  StorePath drv;
  StorePath out;
};

// What a host is to get, in the order of activation; never empty.
struct HostDerivations {
  std::vector<ProfileDerivation> profiles;

  // Null where the host's system is not flurry's to change.
  const ProfileDerivation* system() const;
  // The one that stands for the host where there is room for one: its system, else the first.
  const ProfileDerivation& main() const;
};

// The host's profiles in the order of their activation: as `profilesOrder` says, then the system, then
// the rest by name.
std::vector<ProfileRef> ordered_profiles(const HostConfig& host);

}  // namespace flurry
