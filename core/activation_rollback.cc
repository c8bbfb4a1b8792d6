#include <algorithm>

#include "core/activation.h"

namespace flurry {
namespace {

constexpr int kAttemptsMax = 2;
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

bool Activation::was_switched() const {
  const Phase phase = record_.phase == Phase::kRollingBack ? phase_before_rollback_ : record_.phase;
  return phase >= Phase::kSwitching && record_.spec.goal != Goal::kBoot;
}

bool Activation::may_have_committed() const {
  const Phase phase = record_.phase == Phase::kRollingBack ? phase_before_rollback_ : record_.phase;
  return phase >= Phase::kConfirmed && phase <= Phase::kCommitted;
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
  // A journal that already says rolling-back does not tell how far it had come: assume the most.
  phase_before_rollback_ = record_.phase == Phase::kRollingBack ? Phase::kCommitted : record_.phase;
  running_checks_.clear();
  units_read_ = 0;
  attempts_ = 0;
  record_.reason = std::move(reason);
  record_.outcome.reset();
  enter_write(
      Step::kWriteRollingBack, Phase::kRollingBack,
      now_ + (kAttemptsMax + 1) * record_.spec.activation_timeout + kAttemptsMax * (kSettle + kStopping));
}

// One whole attempt: profile, boot default, running system, proof.
void Activation::continue_rollback() {
  ++attempts_;
  if (!record_.before.running && record_.spec.goal != Goal::kBoot)
    return end_rollback_failed("no system was recorded to go back to");
  // Even before a commit: somebody's --set may be half known after a crash, and this is idempotent.
  if (may_have_committed())
    return enter(Step::kRestoreProfile, effect::RestoreProfile{record_.before.generation});
  if (is_back_already_) {
    verify_until_ = now_ + kSettle;
    return enter(Step::kVerify, effect::ReadState{});
  }
  reactivate();
}

void Activation::restore_boot() {
  const auto& old_default = record_.before.profile ? record_.before.profile : record_.before.running;
  if (!old_default) return reactivate();
  is_boot_restored_ = false;
  enter(Step::kRestoreBoot, effect::RunSwitch{*old_default, effect::SwitchAction::kBoot, unit("unboot")});
  wake_ = now_ + record_.spec.activation_timeout;
}

void Activation::reactivate() {
  if (record_.spec.goal == Goal::kBoot) {
    verify_until_ = now_ + kSettle;
    return enter(Step::kVerify, effect::ReadState{});
  }
  enter(Step::kReactivate, effect::RunSwitch{*record_.before.running, effect::SwitchAction::kTest,
                                             unit("rollback") + "-" + std::to_string(attempts_)});
  wake_ = now_ + record_.spec.activation_timeout;
}

void Activation::on_boot_restored(const SwitchExit& exit) {
  is_boot_restored_ = exit.exit_code == 0;
  reactivate();
}

// The exit code is a hint only; what runs afterwards is the proof.
void Activation::on_reactivated(const SwitchExit& exit) {
  complaint_ = exit.exit_code ? "switch-to-configuration exited with " + std::to_string(*exit.exit_code)
                              : "switch-to-configuration was killed or did not end in time";
  verify_until_ = now_ + kSettle;
  enter(Step::kVerify, effect::ReadState{});
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
      return restore_boot();
    case Step::kRestoreBoot:
      complaint_ = error.message;
      return reactivate();
    case Step::kVerify:
      complaint_ = error.message;
      break;
    default:
      complaint_ = error.message;
      verify_until_ = now_ + kSettle;
      return enter(Step::kVerify, effect::ReadState{});
  }
  if (now_ < verify_until_) {
    waiting_for_ = 0;
    wake_ = now_ + kVerifyInterval;
    return;
  }
  end_rollback_failed("what runs could not be read: " + error.message);
}

void Activation::on_verify(const SystemState& state) {
  const auto failed = newly_failed(state.failed_units, record_.before.failed_units);
  std::string wrong;
  if (state.running != record_.before.running)
    wrong = "the running system is " + (state.running ? state.running->str() : std::string("unknown")) +
            ", not the recorded one (" + complaint_ + ")";
  else if (may_have_committed() && state.profile != record_.before.profile)
    wrong = "the profile does not name the recorded system (" + complaint_ + ")";
  else if (!is_boot_restored_)
    wrong = "the boot default could not be set to the recorded system (" + complaint_ + ")";
  else if (!failed.empty())
    wrong = "units failed that had not failed before: " + joined(failed);

  if (wrong.empty()) {
    const bool untouched = record_.spec.goal == Goal::kBoot;
    return end(untouched ? Outcome::kFailedUnchanged : Outcome::kRolledBack, record_.reason);
  }
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
