#include <algorithm>

#include "core/activation.h"

// From the confirmation to the boot default.

namespace flurry {
namespace {

constexpr Millis kLockInterval{1'000};
constexpr int kTryAgain = 11;  // EAGAIN: somebody else's switch holds the lock

}  // namespace

// From here on the way is forward: a recovery in these phases commits again.
void Activation::start_commit() {
  if (record_.spec.goal == Goal::kTest) return end(Outcome::kSucceeded, "");
  // Never back from profile-set: going back must know that the boot default may be the new one.
  enter_write(Step::kWriteConfirmed, std::max(record_.phase, Phase::kConfirmed),
              now_ + for_each_profile(record_.spec.activation_timeout));
}

// A third system that somebody made the profile is not overwritten.
void Activation::on_confirmed_read(const SystemState& state) {
  if (!runs_what_was_confirmed(state)) return begin_rollback("the system that was confirmed no longer runs");
  if (is_third_system(state.profile))
    return begin_rollback("somebody else has made " + state.profile->str() + " the profile");
  set_profile(first_changed());
}

void Activation::set_profile(std::optional<size_t> index) {
  if (!index) return enter_write(Step::kWriteProfileSet, Phase::kProfileSet, record_.deadline);
  at_ = *index;
  enter(Step::kSetProfile, effect::SetProfile{profile(at_).new_path, at_});
}

// A user profile has a part in booting only where that is all that was asked for.
void Activation::install_boot(std::optional<size_t> index) {
  while (index && !profile(*index).is_system() && record_.spec.goal != Goal::kBoot)
    index = first_changed(*index + 1);
  if (!index) return enter(Step::kReadCommitted, effect::ReadState{});
  at_ = *index;
  enter(Step::kInstallBoot,
        effect::RunSwitch{profile(at_).new_path, effect::SwitchAction::kBoot,
                          profile(at_).is_system() ? unit("boot") : unit("boot", at_), false, at_});
  wake_ = record_.deadline;
}

void Activation::on_boot_installed(const SwitchExit& exit) {
  if (exit.exit_code == 0) return install_boot(first_changed(at_ + 1));
  // A lock that comes free in time takes no confirmed system back.
  if (exit.exit_code == kTryAgain && profile(at_).is_system() && now_ + kLockInterval < record_.deadline)
    return look_later(kLockInterval);
  record_.output = exit.output;
  begin_rollback(about(at_) + "it could not be made the boot default");
}

void Activation::on_commit_read(const SystemState& state) {
  if (!runs_what_was_confirmed(state)) return begin_rollback("the system that was confirmed no longer runs");
  if (const std::string lacking = what_is_not_committed(state); !lacking.empty())
    return begin_rollback(lacking);
  enter_write(Step::kWriteCommitted, Phase::kCommitted, record_.deadline);
}

// Empty: all that was to be committed is.
std::string Activation::what_is_not_committed(const SystemState& state) const {
  for (size_t i = 0; i < record_.spec.profiles.size(); ++i) {
    if (!changes(i)) continue;
    if (profile_state(state, profile(i)).path != profile(i).new_path)
      return about(i) + "the profile did not name the new closure after it was set";
    if (state.boot_default && profile(i).is_system() && !boots_new_system(state, i))
      return "the boot loader names " + state.boot_default->str() + " after it was told the new system";
  }
  return "";
}

// Whoever made it so: a system that does not run was not the one that was healthy.
bool Activation::runs_what_was_confirmed(const SystemState& state) const {
  return record_.spec.goal == Goal::kBoot || runs_new_system(state);
}

void Activation::end_committed() {
  end(record_.spec.goal == Goal::kBoot ? Outcome::kStaged : Outcome::kSucceeded, "");
}

}  // namespace flurry
