#include <algorithm>

#include "core/activation.h"

// Going back to what was recorded.

namespace flurry {
namespace {

// An old system whose activation ends the agent would be activated for ever, each time by another process.
constexpr int kTimesDrivenMax = 10;
// systemd's default timeout of a stop job is 90 s; while jobs wait nothing is known.
constexpr Millis kJobsMax{120'000};
// How long stopping a switch that hangs may take; the deadman must not lose patience meanwhile.
constexpr Millis kStopping{30'000};
// Somebody else's switch may hold the lock for so long, or the host be short of descriptors or memory.
constexpr Millis kRetryMax{60'000};
constexpr Millis kRetryInterval{1'000};

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
                                    "boot default was left as it was");
}

void Activation::begin_rollback(std::string reason) {
  if (record_.phase != Phase::kRollingBack) record_.back_from = record_.phase;
  running_checks_.clear();
  units_read_ = 0;
  attempts_ = 0;
  run_.reset();
  record_.reason = std::move(reason);
  record_.outcome.reset();
  ++record_.times_driven_back;
  retry_until_ = now_ + std::max(kRetryMax, record_.spec.activation_timeout);
  enter_write(
      Step::kWriteRollingBack, Phase::kRollingBack,
      retry_until_ + kJobsMax + kAttemptsMax * kSettle +
          for_each_profile((kAttemptsMax + 1) * record_.spec.activation_timeout + kAttemptsMax * kStopping));
}

// What comes after each step of the way back that ended well.
void Activation::on_way_back(const SystemState& state, const SwitchExit& exit) {
  switch (step_) {
    case Step::kWriteRollingBack:
      return stop_for_rollback(1);
    case Step::kStopForRollback:
      return on_stopped_for_rollback(exit);
    case Step::kReadForRollback:
      return on_state_to_go_back_from(state);
    case Step::kClearLeftovers:
      return plan_attempt();
    case Step::kRestoreProfile:
      return profile(at_).is_system() ? restore_boot() : reactivate_user_profile();
    case Step::kRestoreBoot:
      return on_boot_restored(exit);
    case Step::kStopRestoreBoot:
      return reactivate();
    case Step::kReactivate:
      return on_reactivated(exit);
    case Step::kStopReactivate:
      return on_reactivation_stopped(exit);
    case Step::kVerify:
      return on_verify(state);
    default:  // kWriteNotUndone, kStartLost
      return verify();
  }
}

// An earlier life may have switched back, in this boot, and died before it looked at what that printed, or
// before a full disk took it.
void Activation::stop_for_rollback(int attempt) {
  looked_at_earlier_ = recovered_ ? attempt : 0;
  enter(Step::kStopForRollback,
        effect::StopSwitch{looked_at_earlier_ > 0 ? unit("rollback", static_cast<size_t>(attempt))
                                                  : std::string()});
}

void Activation::on_stopped_for_rollback(const SwitchExit& stopped) {
  if (looked_at_earlier_ == 0) return continue_rollback();
  if (stopped.has_run) {
    is_back_already_ = false;  // not by a reboot, and perhaps by half
    is_earlier_silent_ |= stopped.output.empty();
    note_failed_reloads(parse_switch_report(stopped.output));
  }
  if (looked_at_earlier_ < kAttemptsMax) return stop_for_rollback(looked_at_earlier_ + 1);
  continue_rollback();
}

void Activation::continue_rollback() {
  if (record_.times_driven_back > kTimesDrivenMax) return verify_only();
  enter(Step::kReadForRollback, effect::ReadState{});
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

// Somebody else may have switched, or made the release under way the profile and the boot default.
void Activation::on_state_to_go_back_from(const SystemState& state) {
  is_running_anothers_ = runs_anothers_system(state);
  const auto system = system_index();
  if (system && changes(*system)) {
    is_profile_anothers_ = is_third_system(state.profile);
    must_restore_profile_ = state.profile != record_.before.profile && !is_profile_anothers_;
    // Who sets a profile installs it too: where the loader's files can't be read, the profile speaks for
    // them.
    is_boot_anothers_ = state.boot_default ? is_third_system(state.boot_default) : is_profile_anothers_;
    // From the confirmation on it may be our own word, and then nothing was installed yet.
    const bool is_new = state.profile == profile(*system).new_path;
    // An earlier life, or attempt, may have put the profile back and not come to the boot default.
    const bool is_boot_suspect = must_restore_profile_ || !is_boot_restored_ ||
                                 (record_.times_driven_back > 1 && !is_profile_anothers_);
    must_restore_boot_ = state.boot_default
                             ? state.boot_default != recorded_boot_default() && !is_boot_anothers_ &&
                                   state.boot_default != record_.before.profile
                             : is_boot_suspect && (!may_have_committed() || !is_new);
  }
  has_leftovers_ = !state.leftovers.empty();
  may_reload_ = may_have_to_reload(state);
  if (std::exchange(is_earlier_silent_, false)) note_unknown_reloads(state);
  start_attempt();
}

// One whole attempt: profiles, boot default, running system, proof. The system goes first: a user's
// activation that hangs must not keep a host from being reachable.
void Activation::start_attempt() {
  ++attempts_;
  not_undone_.clear();
  has_started_lost_ = false;
  // The first attempt takes up what the broken-off switch left to be done; what it left where that failed
  // would stop every later switch at the same place.
  if (attempts_ > 1 && has_leftovers_) return enter(Step::kClearLeftovers, effect::ClearLeftovers{});
  plan_attempt();
}

void Activation::plan_attempt() {
  to_restore_.clear();
  for (size_t i = record_.spec.profiles.size(); i-- > 0;)
    if (changes(i) && may_have_touched(i) && !profile(i).is_system() && !is_running_anothers_)
      to_restore_.push_back(i);
  if (const auto system = system_index(); system && changes(*system) && may_have_touched(*system))
    to_restore_.push_back(*system);
  restore_next();
}

void Activation::restore_next() {
  if (to_restore_.empty()) {
    verify_until_ = now_ + kSettle;
    verify_at_most_ = now_ + std::max(kJobsMax, record_.spec.activation_timeout);
    return verify();
  }
  at_ = to_restore_.back();
  to_restore_.pop_back();
  const bool is_system = profile(at_).is_system();
  // A system's only where it may have been set; what a crash left open counts as done.
  const bool may_be_set = may_have_committed() || must_restore_profile_;
  if (!is_system || (may_be_set && !is_profile_anothers_))
    return enter(Step::kRestoreProfile,
                 effect::RestoreProfile{profile_state(record_.before, profile(at_)).generation, at_});
  restore_boot();
}

// To what was recorded; where that is not known, to what the profile named; where there was none, to what
// ran.
void Activation::restore_boot() {
  const bool may_be_new = must_restore_boot_ || (may_have_committed() && furthest() != Phase::kConfirmed);
  if (is_boot_anothers_ || !may_be_new) return reactivate();
  const auto old_default = recorded_boot_default();
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
  if (record_.spec.goal == Goal::kBoot || is_back_already_ || is_running_anothers_) return restore_next();
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

// A system's is judged with what runs afterwards. A user profile has no other proof.
void Activation::on_reactivated(const SwitchExit& exit) {
  note_reactivated(exit);
  restore_next();
}

void Activation::note_reactivated(const SwitchExit& exit) {
  const std::string how = exit.exit_code ? " exited with " + std::to_string(*exit.exit_code)
                                         : " was killed or did not end in time";
  if (profile(at_).is_system()) {
    run_ = run_of(exit, "");
    complaint_ = exit.exit_code == 0 ? "" : "switch-to-configuration" + how;
  } else if (exit.exit_code != 0) {
    not_undone_ = about(at_) + "the activation of its recorded generation" + how;
  }
}

void Activation::stop_reactivation() {
  const bool is_system = profile(at_).is_system();
  enter(Step::kStopReactivate,
        effect::StopSwitch{is_system ? unit("rollback", static_cast<size_t>(attempts_)) : std::string()});
}

void Activation::on_reactivation_stopped(const SwitchExit& stopped) {
  if (profile(at_).is_system()) run_ = run_of({std::nullopt, stopped.output}, "");
  restore_next();
}

// Descriptors and memory come back when whoever used them up is through: no attempt is lost by that.
bool Activation::retry_for_want_of_resources(const Error& error) {
  const bool may_wait = step_ == Step::kStopForRollback || step_ == Step::kReadForRollback ||
                        step_ == Step::kRestoreProfile || step_ == Step::kReactivate;
  if (error.kind != ErrorKind::kExhausted || !may_wait || now_ + kRetryInterval >= retry_until_) return false;
  step_ = Step::kStopForRollback;
  attempts_ = 0;
  look_later(kRetryInterval);
  return true;
}

void Activation::on_rollback_error(const Error& error) {
  if (retry_for_want_of_resources(error)) return;
  switch (step_) {
    // Going back must not depend on a disk that has room: the journal still says enough to redo it.
    case Step::kWriteRollingBack:
      return stop_for_rollback(1);
    case Step::kStopForRollback:
      return continue_rollback();
    case Step::kReadForRollback:
      may_reload_ = true;
      return start_attempt();
    case Step::kClearLeftovers:
      return plan_attempt();
    case Step::kWriteNotUndone:
    case Step::kStartLost:
      return verify();
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
      note_reactivated({});
      complaint_ = error.message;
      if (!profile(at_).is_system()) not_undone_ = about(at_) + error.message;
      return stop_reactivation();
    case Step::kVerify:
      complaint_ = error.message;
      break;
    default:
      complaint_ = error.message;
      if (!profile(at_).is_system()) not_undone_ = about(at_) + error.message;
      return restore_next();
  }
  const bool is_exhausted = error.kind == ErrorKind::kExhausted && now_ + kRetryInterval < retry_until_;
  if (now_ < verify_until_ || is_exhausted) return look_later(kRetryInterval / 2);
  end_rollback_failed("what runs could not be read: " + error.message);
}

void Activation::end_rollback_failed(const std::string& why) {
  end(Outcome::kRollbackFailed, record_.reason + "; going back failed: " + why);
}

}  // namespace flurry
