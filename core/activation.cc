#include "core/activation.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace flurry {
namespace {

// Exit codes of switch-to-configuration (nixpkgs, switch-to-configuration-ng).
constexpr int kSwitchOk = 0;
constexpr int kSwitchNotStarted = 1;   // pre-switch check, lock or usage: nothing was switched
constexpr int kSwitchUnitsFailed = 4;  // activated; some unit is failed, perhaps from before
constexpr int kSwitchNeedsReboot = 100;

// Effects end within bounds of their own, which are shorter: this is for one that hangs all the same.
constexpr Millis kEffectMax{300'000};

constexpr size_t kOutputMax = 16 << 10;
constexpr size_t kReasonMax = 4 << 10;

std::string tail(std::string text, size_t max) {
  if (text.size() > max) text.erase(0, text.size() - max);
  return text;
}

}  // namespace

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

Activation Activation::begin(ActivationSpec spec, long long unix_ms) {
  ActivationRecord record{.spec = std::move(spec)};
  record.started_unix_ms = unix_ms;
  return Activation(std::move(record));
}

std::vector<Effect> Activation::step(TimePoint now, std::vector<ActivationInput> inputs) {
  now_ = now;
  out_.clear();
  if (!started_) {
    started_ = true;
    start_first_effect();
  }
  for (const auto& input : inputs) {
    if (const auto* ended = std::get_if<EffectEnded>(&input)) {
      on_ended(*ended);
    } else if (const auto* confirm = std::get_if<ConfirmReceived>(&input)) {
      const bool in_time = step_ == Step::kAwait && now_ < record_.deadline;
      if (in_time && confirm->nonce == record_.spec.nonce) start_commit();
    } else if (const auto* request = std::get_if<RollbackRequested>(&input)) {
      if (request->nonce == record_.spec.nonce) requested_rollback_ = request->reason;
    }
  }
  on_time();
  return std::move(out_);
}

std::optional<TimePoint> Activation::next_wakeup() const {
  if (step_ == Step::kCheck && gate_) return gate_->next_wakeup();
  return wake_;
}

std::vector<std::string> Activation::health_report() const {
  if (step_ != Step::kCheck || !gate_) return {};
  return gate_->complaints();
}

void Activation::start_first_effect() {
  if (!recovered_)
    enter(Step::kReadBefore, effect::ReadState{});
  else if (record_.outcome)
    enter(Step::kDisarmDeadman, effect::DisarmDeadman{});
  else if (rebooted_)
    enter(Step::kReadAfterBoot, effect::ReadState{});
  else
    resume_same_boot();
}

// Every step waits for the one effect that it started.
void Activation::enter(Step step, effect::Any what) {
  step_ = step;
  wake_ = now_ + kEffectMax;
  waiting_for_ = next_id_++;
  out_.push_back({waiting_for_, std::move(what)});
}

void Activation::enter_write(Step step, Phase phase, TimePoint deadline) {
  record_.phase = phase;
  record_.deadline = deadline;
  is_journalled_ = true;
  enter(step, effect::WriteJournal{record_});
}

void Activation::on_ended(const EffectEnded& ended) {
  if (step_ == Step::kCheck) return on_check(ended);
  if (ended.id != waiting_for_ || step_ == Step::kDone) return;  // of a step that was given up
  if (ended.result)
    on_value(*ended.result);
  else
    on_error(ended.result.error());
}

void Activation::on_value(const EffectValue& value) {
  const auto* state = std::get_if<SystemState>(&value);
  const auto* exit = std::get_if<SwitchExit>(&value);
  const SystemState none{};
  const SwitchExit no_exit{};
  switch (step_) {
    case Step::kReadBefore:
      return on_before(state ? *state : none);
    case Step::kWritePrepared:
      return enter(Step::kHoldRoots, effect::HoldRoots{});
    case Step::kHoldRoots:
      if (record_.spec.goal == Goal::kBoot) return start_commit();
      return enter(Step::kArmDeadman, effect::ArmDeadman{});
    case Step::kArmDeadman:
      return enter_write(Step::kWriteSwitching, Phase::kSwitching, now_ + record_.spec.activation_timeout);
    case Step::kWriteSwitching:
      return start_switch(false);
    case Step::kSwitch:
      return on_switch_exit(exit ? *exit : no_exit);
    case Step::kStopSwitch:
      return fail("the switch did not end within its activation timeout");
    case Step::kReadUnswitched:
      if (state && state->running == record_.before.running)
        return end(Outcome::kFailedUnchanged, record_.reason);
      return fail(record_.reason);
    case Step::kWriteChecking:
      gate_.emplace(record_.spec.health, record_.before.failed_units, now_, record_.deadline);
      step_ = Step::kCheck;
      wake_.reset();
      return;
    case Step::kWriteAwaiting:
      step_ = Step::kAwait;
      wake_ = record_.deadline;
      return;
    case Step::kWriteConfirmed:
      return enter(Step::kSetProfile, effect::SetProfile{record_.spec.new_path});
    case Step::kSetProfile:
      return enter_write(Step::kWriteProfileSet, Phase::kProfileSet, record_.deadline);
    case Step::kWriteProfileSet:
      enter(Step::kInstallBoot,
            effect::RunSwitch{record_.spec.new_path, effect::SwitchAction::kBoot, unit("boot")});
      wake_ = record_.deadline;
      return;
    case Step::kInstallBoot:
      if (exit && exit->exit_code == kSwitchOk) return enter(Step::kReadCommitted, effect::ReadState{});
      record_.output = tail(exit ? exit->output : "", kOutputMax);
      return begin_rollback("the new system could not be made the boot default");
    case Step::kReadCommitted:
      if (state && state->profile == record_.spec.new_path)
        return enter_write(Step::kWriteCommitted, Phase::kCommitted, record_.deadline);
      return begin_rollback("the profile did not name the new system after it was set");
    case Step::kWriteCommitted:
      return end(record_.spec.goal == Goal::kBoot ? Outcome::kStaged : Outcome::kSucceeded, "");
    case Step::kReadAfterBoot:
      return on_state_after_boot(state ? *state : none);
    case Step::kWriteRollingBack:
      return enter(Step::kStopForRollback, effect::StopSwitch{});
    case Step::kStopForRollback:
      return continue_rollback();
    case Step::kRestoreProfile:
      return restore_boot();
    case Step::kRestoreBoot:
      return on_boot_restored(exit ? *exit : no_exit);
    case Step::kReactivate:
      return on_reactivated(exit ? *exit : no_exit);
    case Step::kStopReactivate:
      return on_reactivated(no_exit);
    case Step::kVerify:
      return on_verify(state ? *state : none);
    case Step::kWriteEnded:
      return enter(Step::kDisarmDeadman, effect::DisarmDeadman{});
    case Step::kDisarmDeadman:
      return enter(Step::kReleaseRoots, effect::ReleaseRoots{});
    case Step::kReleaseRoots:
      step_ = Step::kDone;
      wake_.reset();
      return;
    case Step::kCheck:
    case Step::kAwait:
    case Step::kDone:
      return;
  }
}

void Activation::on_error(const Error& error) {
  switch (step_) {
    case Step::kReadBefore:
      return end(Outcome::kFailedUnchanged, "read the present system: " + error.message);
    case Step::kWritePrepared:
      return end(Outcome::kFailedUnchanged, "write the journal: " + error.message);
    case Step::kHoldRoots:
      return end(Outcome::kFailedUnchanged, "hold GC roots: " + error.message);
    case Step::kArmDeadman:
      return end(Outcome::kFailedUnchanged, "arm the deadman: " + error.message);
    case Step::kWriteSwitching:
      return end(Outcome::kFailedUnchanged, "write the journal: " + error.message);
    case Step::kSwitch:
      return fail("run the switch: " + error.message);
    case Step::kStopSwitch:
      return fail("the switch did not end in time and could not be stopped: " + error.message);
    case Step::kReadUnswitched:
      return fail(record_.reason + "; what runs now could not be read");
    case Step::kWriteChecking:
    case Step::kWriteAwaiting:
      return begin_rollback("write the journal: " + error.message);
    case Step::kWriteConfirmed:
      return begin_rollback("the confirmation could not be recorded: " + error.message);
    case Step::kSetProfile:
      return begin_rollback("set the profile: " + error.message);
    case Step::kWriteProfileSet:
    case Step::kInstallBoot:
      return begin_rollback("commit: " + error.message);
    case Step::kReadCommitted:
      return begin_rollback("verify the profile: " + error.message);
    case Step::kWriteCommitted:
      // The journal still says profile-set, from which a recovery commits again: forward stays true.
      return end(record_.spec.goal == Goal::kBoot ? Outcome::kStaged : Outcome::kSucceeded, "");
    case Step::kReadAfterBoot:
      return begin_rollback("read the system after a reboot: " + error.message);
    case Step::kWriteRollingBack:
    case Step::kStopForRollback:
    case Step::kRestoreProfile:
    case Step::kRestoreBoot:
    case Step::kReactivate:
    case Step::kStopReactivate:
    case Step::kVerify:
      return on_rollback_error(error);
    case Step::kWriteEnded:
      // A tested system that the journal calls unconfirmed would be rolled back by the next reader.
      if (record_.outcome == Outcome::kSucceeded && record_.spec.goal == Goal::kTest)
        return begin_rollback("the confirmation could not be recorded: " + error.message);
      // The outcome is true all the same. Keep the deadman and the roots: what the journal still says
      // has to be finished by whoever reads it next.
      step_ = Step::kDone;
      wake_.reset();
      return;
    case Step::kDisarmDeadman:
      return enter(Step::kReleaseRoots, effect::ReleaseRoots{});
    case Step::kReleaseRoots:
      step_ = Step::kDone;
      wake_.reset();
      return;
    case Step::kCheck:
    case Step::kAwait:
    case Step::kDone:
      return;
  }
}

void Activation::on_before(const SystemState& state) {
  record_.before = state;
  const ActivationSpec& spec = record_.spec;
  const bool runs = state.running == spec.new_path;
  const bool committed = state.profile == spec.new_path;
  if ((spec.goal == Goal::kSwitch && runs && committed) || (spec.goal == Goal::kTest && runs) ||
      (spec.goal == Goal::kBoot && committed))
    return end(Outcome::kUnchanged, "");
  if (spec.expected_running && state.running != spec.expected_running)
    return end(Outcome::kFailedUnchanged,
               "the host changed since preflight: it now runs " +
                   (state.running ? state.running->str() : std::string("no known system")) + ", not " +
                   spec.expected_running->str() + "; deploy again");
  if (spec.goal == Goal::kDryActivate) return start_switch(false);
  if (!state.running && !spec.allow_no_rollback)
    return end(Outcome::kFailedUnchanged,
               "there is no running NixOS system to go back to (/run/current-system names none); "
               "allow this with --allow-no-rollback");
  const Millis budget = spec.activation_timeout + spec.health.deadline + spec.confirm_timeout;
  enter_write(Step::kWritePrepared, Phase::kPrepared, now_ + budget);
}

void Activation::start_switch(bool attach) {
  const bool dry = record_.spec.goal == Goal::kDryActivate;
  if (dry) record_.deadline = now_ + record_.spec.activation_timeout;
  enter(Step::kSwitch,
        effect::RunSwitch{record_.spec.new_path,
                          dry ? effect::SwitchAction::kDryActivate : effect::SwitchAction::kTest,
                          unit("switch"), attach});
  wake_ = record_.deadline;
}

void Activation::on_switch_exit(const SwitchExit& exit) {
  record_.output = tail(exit.output, kOutputMax);
  const std::string code =
      exit.exit_code ? "exited with " + std::to_string(*exit.exit_code) : "was killed or lost";
  if (record_.spec.goal == Goal::kDryActivate) {
    if (exit.exit_code == kSwitchOk) return end(Outcome::kStaged, "");
    return end(Outcome::kFailedUnchanged, "dry-activate " + code);
  }
  if (exit.exit_code == kSwitchOk || exit.exit_code == kSwitchUnitsFailed)
    return enter_write(Step::kWriteChecking, Phase::kChecking, now_ + record_.spec.health.deadline);
  if (exit.exit_code == kSwitchNotStarted || exit.exit_code == kSwitchNeedsReboot) {
    record_.reason = exit.exit_code == kSwitchNeedsReboot
                         ? "the new system needs a reboot (its init interface changed); nothing was "
                           "switched; deploy it with --goal boot and reboot"
                         : "switch-to-configuration exited with 1 before it switched anything";
    return enter(Step::kReadUnswitched, effect::ReadState{});
  }
  fail("switch-to-configuration " + code);
}

void Activation::on_time() {
  if (requested_rollback_ && (step_ == Step::kCheck || step_ == Step::kAwait))
    return fail(*std::exchange(requested_rollback_, std::nullopt), true);
  if (step_ == Step::kCheck) return pump_checks();
  if (!wake_ || now_ < *wake_) return;
  wake_.reset();
  switch (step_) {
    case Step::kSwitch:
      return enter(Step::kStopSwitch, effect::StopSwitch{});
    case Step::kAwait:
      return fail("no confirmation came within " +
                      std::to_string(record_.spec.confirm_timeout.count() / 1000) +
                      " s: the host could not be reached over a new connection",
                  true);
    case Step::kInstallBoot:
      return begin_rollback("installing the boot default did not end in time");
    case Step::kReactivate:
      return enter(Step::kStopReactivate, effect::StopSwitch{});
    case Step::kRestoreBoot:
      return reactivate();
    case Step::kVerify:
      // Nothing is awaited between two looks; a look that hangs is an error.
      if (waiting_for_ == 0) return enter(Step::kVerify, effect::ReadState{});
      return on_overdue();
    default:
      return on_overdue();
  }
}

// The end of the effect that was given up, if it ever comes, is nobody's any more.
void Activation::on_overdue() {
  waiting_for_ = 0;
  on_error({ErrorKind::kTimedOut, "no answer within " + std::to_string(kEffectMax.count() / 1000) + " s"});
}

// From here on the way is forward: a recovery in these phases commits again.
void Activation::start_commit() {
  if (record_.spec.goal == Goal::kTest) return end(Outcome::kSucceeded, "");
  enter_write(Step::kWriteConfirmed, Phase::kConfirmed, now_ + record_.spec.activation_timeout);
}

void Activation::end(Outcome outcome, std::string reason) {
  record_.outcome = outcome;
  record_.reason = tail(std::move(reason), kReasonMax);
  if (!is_journalled_) {
    step_ = Step::kDone;
    wake_.reset();
    return;
  }
  enter_write(Step::kWriteEnded, Phase::kEnded, record_.deadline);
}

std::string Activation::unit(const char* purpose) const {
  return std::string("flurry-") + purpose + "-" + record_.spec.deployment.str();
}

}  // namespace flurry
