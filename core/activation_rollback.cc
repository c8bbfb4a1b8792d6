#include <algorithm>

#include "core/activation.h"

namespace flurry {
namespace {

constexpr int kAttemptsMax = 2;
// An old system whose activation ends the agent would be activated for ever, each time by another process.
constexpr int kTimesDrivenMax = 10;
// Units may pass through a failed state while the old system settles.
constexpr Millis kSettle{10'000};
constexpr Millis kVerifyInterval{500};
// How long stopping a switch that hangs may take; the deadman must not lose patience meanwhile.
constexpr Millis kStopping{30'000};

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace

// The most that can have been done before it turned back.
Phase Activation::furthest() const {
  return record_.phase == Phase::kRollingBack ? record_.back_from.value_or(Phase::kCommitted) : record_.phase;
}

bool Activation::may_have_committed() const {
  const Phase phase = furthest();
  return phase >= Phase::kConfirmed && phase <= Phase::kCommitted;
}

bool Activation::may_have_touched(size_t index) const {
  const Phase phase = furthest();
  return phase != Phase::kSwitching || index <= record_.at;
}

// A failure after the switch may have begun: back, unless the user wants to look at it.
void Activation::fail(std::string reason, bool is_lost_confirmation) {
  // Nothing was to be switched, and nothing may be now.
  if (record_.spec.goal == Goal::kDryActivate)
    return end(Outcome::kFailedUnchanged, "dry-activate: " + reason);
  if (record_.spec.auto_rollback || is_lost_confirmation) return begin_rollback(std::move(reason));
  end(Outcome::kRollbackFailed, reason +
                                    "; automatic rollback is off, so the unconfirmed system still runs; the "
                                    "boot default is the old one");
}

void Activation::begin_rollback(std::string reason) {
  if (record_.phase != Phase::kRollingBack) record_.back_from = record_.phase;
  running_checks_.clear();
  units_read_ = 0;
  attempts_ = 0;
  record_.reason = std::move(reason);
  record_.outcome.reset();
  ++record_.times_driven_back;
  enter_write(
      Step::kWriteRollingBack, Phase::kRollingBack,
      now_ +
          for_each_profile((kAttemptsMax + 1) * record_.spec.activation_timeout + kAttemptsMax * kStopping) +
          kAttemptsMax * kSettle);
}

// One whole attempt: profiles, boot default, running system, proof. The system goes first: a user's
// activation that hangs must not keep a host from being reachable.
void Activation::continue_rollback() {
  if (record_.times_driven_back > kTimesDrivenMax) return verify_only();
  ++attempts_;
  not_undone_.clear();
  to_restore_.clear();
  for (size_t i = record_.spec.profiles.size(); i-- > 0;)
    if (changes(i) && may_have_touched(i) && !profile(i).is_system()) to_restore_.push_back(i);
  if (const auto system = system_index(); system && changes(*system) && may_have_touched(*system))
    to_restore_.push_back(*system);
  restore_next();
}

// What earlier attempts did is kept if it can be seen to be right, and nothing more is tried.
void Activation::verify_only() {
  attempts_ = kAttemptsMax;
  complaint_ = "it was begun " + std::to_string(kTimesDrivenMax) +
               " times, and each time the agent was ended meanwhile";
  is_boot_restored_ = !may_have_committed();
  for (size_t i = 0; i < record_.spec.profiles.size(); ++i)
    if (changes(i) && may_have_touched(i) && !profile(i).is_system()) not_undone_ = about(i) + complaint_;
  to_restore_.clear();
  restore_next();
}

void Activation::restore_next() {
  if (to_restore_.empty()) {
    verify_until_ = now_ + kSettle;
    return enter(Step::kVerify, effect::ReadState{});
  }
  at_ = to_restore_.back();
  to_restore_.pop_back();
  // A system's only where it may have been set; what a crash left open counts as done.
  if (!profile(at_).is_system() || may_have_committed())
    return enter(Step::kRestoreProfile,
                 effect::RestoreProfile{profile_state(record_.before, profile(at_)).generation, at_});
  if (is_back_already_) return restore_next();
  reactivate();
}

// To what the profile named; where there was none, to what ran.
void Activation::restore_boot() {
  if (furthest() == Phase::kConfirmed) return reactivate();  // its installation had not begun
  const auto& old_default = record_.before.profile ? record_.before.profile : record_.before.running;
  is_boot_restored_ = false;
  if (!old_default) {
    complaint_ = "none was recorded";
    return reactivate();
  }
  enter(Step::kRestoreBoot,
        effect::RunSwitch{*old_default, effect::SwitchAction::kBoot, unit("unboot"), false, at_});
  wake_ = now_ + record_.spec.activation_timeout;
}

void Activation::reactivate() {
  if (record_.spec.goal == Goal::kBoot) return restore_next();
  if (!record_.before.running) {  // all that can be taken back is the profile
    complaint_ = "no system was recorded to go back to";
    return restore_next();
  }
  enter(Step::kReactivate, effect::RunSwitch{*record_.before.running, effect::SwitchAction::kTest,
                                             unit("rollback", static_cast<size_t>(attempts_)), false, at_});
  wake_ = now_ + record_.spec.activation_timeout;
}

// Its link names the recorded closure again; what the new one's activation did is undone by activating that.
void Activation::reactivate_user_profile() {
  const auto before = profile_state(record_.before, profile(at_)).path;
  if (record_.spec.goal == Goal::kBoot) return restore_next();
  if (!before) {
    if (profile(at_).has_activation && at_ != never_activated_)
      not_undone_ = about(at_) + "it had no generation before, so what its activation did is still there";
    return restore_next();
  }
  enter(Step::kReactivate,
        effect::RunSwitch{*before, effect::SwitchAction::kActivate,
                          unit("restore", at_) + "-" + std::to_string(attempts_), false, at_});
  wake_ = now_ + record_.spec.activation_timeout;
}

void Activation::on_boot_restored(const SwitchExit& exit) {
  is_boot_restored_ = exit.exit_code == 0;
  reactivate();
}

// A system's exit code is a hint only; what runs afterwards is the proof. A user profile has no other proof.
void Activation::on_reactivated(const SwitchExit& exit) {
  note_reactivated(exit);
  restore_next();
}

void Activation::note_reactivated(const SwitchExit& exit) {
  const std::string how = exit.exit_code ? " exited with " + std::to_string(*exit.exit_code)
                                         : " was killed or did not end in time";
  if (profile(at_).is_system())
    complaint_ = "switch-to-configuration" + how;
  else if (exit.exit_code != 0)
    not_undone_ = about(at_) + "the activation of its recorded generation" + how;
}

void Activation::on_rollback_error(const Error& error) {
  switch (step_) {
    // Going back must not depend on a disk that has room: the journal still says enough to redo it.
    case Step::kWriteRollingBack:
      return enter(Step::kStopForRollback, effect::StopSwitch{});
    case Step::kStopForRollback:
      return continue_rollback();
    case Step::kRestoreProfile:
      complaint_ = error.message;  // it may have happened all the same
      return profile(at_).is_system() ? restore_boot() : reactivate_user_profile();
    // A switch that can't be waited for may run all the same: it would lock out the next one, or go on
    // behind the outcome's back.
    case Step::kRestoreBoot:
      complaint_ = error.message;
      return enter(Step::kStopRestoreBoot, effect::StopSwitch{});
    case Step::kStopRestoreBoot:
      complaint_ = error.message;
      return reactivate();
    case Step::kReactivate:
      complaint_ = error.message;
      if (!profile(at_).is_system()) not_undone_ = about(at_) + error.message;
      return enter(Step::kStopReactivate, effect::StopSwitch{});
    case Step::kVerify:
      complaint_ = error.message;
      break;
    default:
      complaint_ = error.message;
      if (!profile(at_).is_system()) not_undone_ = about(at_) + error.message;
      return restore_next();
  }
  if (now_ < verify_until_) {
    waiting_for_ = 0;
    wake_ = now_ + kVerifyInterval;
    return;
  }
  end_rollback_failed("what runs could not be read: " + error.message);
}

std::string Activation::what_is_wrong(const SystemState& state) const {
  const std::string because = complaint_.empty() ? "" : " (" + complaint_ + ")";
  // Goal boot switches nothing: where another old system runs now, that is a reboot's doing.
  const bool may_be_another = record_.spec.goal == Goal::kBoot && !runs_new_system(state);
  if (changes_system() && !may_be_another && state.running != record_.before.running)
    return "the running system is " + (state.running ? state.running->str() : std::string("unknown")) +
           ", not the recorded one" + because;
  for (size_t i = 0; i < record_.spec.profiles.size(); ++i) {
    const bool was_set = !profile(i).is_system() || may_have_committed();
    const auto now = profile_state(state, profile(i)).path;
    if (changes(i) && was_set && now != profile_state(record_.before, profile(i)).path)
      return about(i) + "the profile does not name the recorded closure" + because;
  }
  if (!is_boot_restored_) return "the boot default could not be set to the recorded system" + because;
  if (!not_undone_.empty()) return not_undone_;
  const auto failed = newly_failed(state.failed_units, record_.before.failed_units);
  return failed.empty() ? "" : "units failed that had not failed before: " + joined(failed);
}

void Activation::on_verify(const SystemState& state) {
  const std::string wrong = what_is_wrong(state);
  if (wrong.empty()) {
    const bool untouched = record_.spec.goal == Goal::kBoot;
    return end(untouched ? Outcome::kFailedUnchanged : Outcome::kRolledBack, record_.reason);
  }
  const bool is_hopeless = changes_system() && !record_.before.running && state.running;
  if (is_hopeless) return end_rollback_failed(wrong);
  if (now_ < verify_until_) {
    waiting_for_ = 0;
    wake_ = now_ + kVerifyInterval;
    return;
  }
  is_back_already_ = false;
  if (attempts_ < kAttemptsMax) return continue_rollback();
  end_rollback_failed(wrong);
}

void Activation::end_rollback_failed(const std::string& why) {
  end(Outcome::kRollbackFailed, record_.reason + "; going back failed: " + why);
}

}  // namespace flurry
