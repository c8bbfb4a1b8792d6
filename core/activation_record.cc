#include "core/activation_record.h"

namespace flurry {
namespace {

const ProfileState& state_of(const SystemState& state, const std::string& name) {
  static const ProfileState kNone;
  const auto it = state.user_profiles.find(name);
  return it == state.user_profiles.end() ? kNone : it->second;
}

}  // namespace

ProfileSpec system_profile(StorePath new_path) {
  return {{std::string(kSystemProfile), "root", "/nix/var/nix/profiles/system"}, std::move(new_path)};
}

ProfileState profile_state(const SystemState& state, const ProfileRef& profile) {
  if (profile.is_system()) return {state.profile, state.generation};
  return state_of(state, profile.name);
}

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::kPrepared:
      return "prepared";
    case Phase::kSwitching:
      return "switching";
    case Phase::kChecking:
      return "checking";
    case Phase::kAwaitingConfirmation:
      return "awaiting-confirmation";
    case Phase::kConfirmed:
      return "confirmed";
    case Phase::kProfileSet:
      return "profile-set";
    case Phase::kCommitted:
      return "committed";
    case Phase::kRollingBack:
      return "rolling-back";
    case Phase::kEnded:
      return "ended";
  }
  return "?";
}

}  // namespace flurry
