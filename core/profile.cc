#include "core/profile.h"

#include <algorithm>

namespace flurry {
namespace {

constexpr const char* kSystemLink = "/nix/var/nix/profiles/system";

}  // namespace

const ProfileDerivation* HostDerivations::system() const {
  for (const auto& derivation : profiles)
    if (derivation.profile.is_system()) return &derivation;
  return nullptr;
}

const ProfileDerivation& HostDerivations::main() const { return system() ? *system() : profiles.front(); }

std::vector<ProfileRef> ordered_profiles(const HostConfig& host) {
  std::vector<std::string> names = host.profiles_order;
  names.emplace_back(kSystemProfile);
  for (const auto& [name, config] : host.profiles) names.push_back(name);
  std::vector<ProfileRef> out;
  for (const auto& name : names) {
    const auto config = host.profiles.find(name);
    const bool is_taken =
        std::any_of(out.begin(), out.end(), [&](const ProfileRef& ref) { return ref.name == name; });
    if (config == host.profiles.end() || is_taken) continue;
    out.push_back({name, config->second.user, name == kSystemProfile ? kSystemLink : config->second.link,
                   config->second.needs_activation});
  }
  return out;
}

}  // namespace flurry
