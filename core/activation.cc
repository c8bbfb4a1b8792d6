#include "core/activation.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace flurry {
namespace {

// Effects end within bounds of their own, which are shorter: this is for one that hangs all the same.
constexpr Millis kEffectMax{300'000};

constexpr Millis kWriteAgain{1'000};

constexpr size_t kReasonMax = 4 << 10;

std::string tail(std::string text, size_t max) {
  if (text.size() > max) text.erase(0, text.size() - max);
  return text;
}

}  // namespace

SwitchRun run_of(const SwitchExit& exit, std::string stopped) {
  return {exit.exit_code, std::move(stopped), !exit.output.empty(), parse_switch_report(exit.output),
          exit.tells_failed_activation};
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
      on_confirm(*confirm);
    } else if (const auto* request = std::get_if<RollbackRequested>(&input)) {
      if (request->nonce == record_.spec.nonce) requested_rollback_ = request->reason;
    }
  }
  on_time();
  return std::move(out_);
}

// One that comes while a window is being taken up again counts once that is done.
void Activation::on_confirm(const ConfirmReceived& confirm) {
  if (confirm.nonce != record_.spec.nonce || now_ >= record_.deadline) return;
  if (step_ == Step::kAwait) return start_commit();
  const bool is_window = record_.phase == Phase::kAwaitingConfirmation && !rebooted_;
  was_confirmed_early_ |= is_window && (step_ == Step::kArmAgain || step_ == Step::kWriteAwaiting);
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
    enter(Step::kReadBefore, effect::ReadState{.is_baseline = true});
  else if (record_.outcome)
    enter(Step::kDisarmDeadman, effect::DisarmDeadman{});
  else if (record_.phase == Phase::kPrepared)
    end(Outcome::kFailedUnchanged,
        std::string(rebooted_ ? "the host rebooted" : "the agent died") + " before the switch began");
  else if (record_.spec.goal == Goal::kBoot)
    resume();
  else
    enter(Step::kArmAgain, effect::ArmDeadman{});  // whatever stopped us may have stopped it too
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

// What comes after each step that ended well.
void Activation::on_value(const EffectValue& value) {
  const auto* state = std::get_if<SystemState>(&value);
  const auto* exit = std::get_if<SwitchExit>(&value);
  const SystemState none{};
  const SwitchExit no_exit{};
  if (step_ >= Step::kWriteRollingBack && step_ <= Step::kStartLost)
    return on_way_back(state ? *state : none, exit ? *exit : no_exit);
  switch (step_) {
    case Step::kReadBefore:
      return on_before(state ? *state : none);
    case Step::kArmAgain:
      return resume();
    case Step::kWritePrepared:
      return enter(Step::kHoldRoots, effect::HoldRoots{});
    case Step::kHoldRoots:
      if (record_.spec.goal == Goal::kBoot) return start_commit();
      return enter(Step::kArmDeadman, effect::ArmDeadman{});
    case Step::kArmDeadman:
      record_.at = first_changed().value_or(0);
      return enter_write(Step::kWriteSwitching, Phase::kSwitching,
                         now_ + for_each_profile(record_.spec.activation_timeout));
    case Step::kWriteSwitching:
      at_ = record_.at;
      return start_profile(false);
    case Step::kSetBeforeSwitch:
      return start_switch(is_attaching_);
    case Step::kSwitch:
      return on_switch_exit(exit ? *exit : no_exit);
    case Step::kStopSwitch:
      return on_switch_stopped(exit ? exit->output : "");
    case Step::kReadSwitched:
      return on_switched(state ? *state : none);
    case Step::kLookForWayBack:
      return on_looked_for_way_back(exit && exit->has_run);
    case Step::kWriteChecking:
      return start_checks();
    case Step::kWriteAwaiting:
      step_ = Step::kAwait;
      wake_ = record_.deadline;
      if (was_confirmed_early_ && now_ < record_.deadline) start_commit();
      return;
    case Step::kWriteConfirmed:
      return enter(Step::kReadConfirmed, effect::ReadState{});
    case Step::kReadConfirmed:
      return on_confirmed_read(state ? *state : none);
    case Step::kSetProfile:
      return set_profile(first_changed(at_ + 1));
    case Step::kWriteProfileSet:
      return install_boot(first_changed());
    case Step::kInstallBoot:
      return on_boot_installed(exit ? *exit : no_exit);
    case Step::kReadCommitted:
      return on_commit_read(state ? *state : none);
    case Step::kWriteCommitted:
      return end_committed();
    case Step::kReadAfterBoot:
      return on_state_after_boot(state ? *state : none);
    case Step::kWriteEnded:
      return enter(Step::kDisarmDeadman, effect::DisarmDeadman{});
    case Step::kDisarmDeadman:
      return enter(Step::kReleaseRoots, effect::ReleaseRoots{});
    default:  // kReleaseRoots; the others wait for no effect
      step_ = Step::kDone;
      wake_.reset();
  }
}

void Activation::on_error(const Error& error) {
  if (step_ >= Step::kWriteRollingBack && step_ <= Step::kStartLost) return on_rollback_error(error);
  switch (step_) {
    case Step::kReadBefore:
      return end(Outcome::kFailedUnchanged, "read the present system: " + error.message);
    case Step::kArmAgain:
      return on_not_armed_again(error);
    case Step::kWritePrepared:
      return end(Outcome::kFailedUnchanged, "write the journal: " + error.message);
    case Step::kHoldRoots:
      return end(Outcome::kFailedUnchanged, "hold GC roots: " + error.message);
    case Step::kArmDeadman:
      return end(Outcome::kFailedUnchanged, "arm the deadman: " + error.message);
    case Step::kWriteSwitching:
      if (record_.at != first_changed()) return begin_rollback("write the journal: " + error.message);
      return end(Outcome::kFailedUnchanged, "write the journal: " + error.message);
    case Step::kSetBeforeSwitch:
      never_activated_ = at_;
      return fail(about(at_) + "set the profile: " + error.message);
    case Step::kSwitch:
      return stop_switch("run the switch: " + error.message);
    case Step::kStopSwitch:
      return fail(record_.reason + "; and it could not be stopped: " + error.message);
    case Step::kLookForWayBack:
      return on_looked_for_way_back(true);
    case Step::kReadSwitched:
      return fail("what the switch did could not be read: " + error.message);
    case Step::kWriteChecking:
    case Step::kWriteAwaiting:
      return begin_rollback("write the journal: " + error.message);
    case Step::kWriteConfirmed:
      return begin_rollback("the confirmation could not be recorded: " + error.message);
    case Step::kReadConfirmed:
      return begin_rollback("verify what runs: " + error.message);
    case Step::kSetProfile:
      return begin_rollback(about(at_) + "set the profile: " + error.message);
    case Step::kWriteProfileSet:
    case Step::kInstallBoot:
      return begin_rollback("commit: " + error.message);
    case Step::kReadCommitted:
      return begin_rollback("verify the profile: " + error.message);
    case Step::kWriteCommitted:
      // The journal still says profile-set; the outcome is the next thing to be written.
      is_commit_written_ = false;
      return end_committed();
    case Step::kReadAfterBoot:
      // What the journal calls committed was verified before it was written.
      if (record_.phase == Phase::kCommitted) return end_committed();
      return begin_rollback("read the system after a reboot: " + error.message);
    case Step::kWriteEnded:
      return on_end_refused();
    case Step::kDisarmDeadman:
      return enter(Step::kReleaseRoots, effect::ReleaseRoots{});
    default:  // kReleaseRoots; the others wait for no effect
      step_ = Step::kDone;
      wake_.reset();
  }
}

// Tried again until it stands, or the deadman takes over.
void Activation::on_end_refused() {
  if (may_end_otherwise()) return look_later(kWriteAgain);
  // The outcome is true all the same. Keep the deadman and the roots: what the journal still says has to be
  // finished by whoever reads it next.
  step_ = Step::kDone;
  wake_.reset();
}

// Whether the next reader of a journal that does not say this end could come to its contrary: undo a success,
// or commit what could not be undone. Nor may it go back behind a success that was written all the same.
bool Activation::may_end_otherwise() const {
  const bool was_confirmed =
      record_.back_from && *record_.back_from >= Phase::kConfirmed && *record_.back_from <= Phase::kCommitted;
  if (record_.outcome == Outcome::kRollbackFailed) return was_confirmed;
  return !is_commit_written_ || (record_.outcome == Outcome::kSucceeded && record_.spec.goal == Goal::kTest);
}

void Activation::on_time() {
  if (requested_rollback_ && (step_ == Step::kCheck || step_ == Step::kAwait))
    return fail(*std::exchange(requested_rollback_, std::nullopt), true);
  if (step_ == Step::kCheck) return pump_checks();
  if (!wake_ || now_ < *wake_) return;
  wake_.reset();
  switch (step_) {
    case Step::kSwitch:
      return stop_switch("the switch did not end within its activation timeout");
    case Step::kAwait:
      return fail(
          "no confirmation came within " + std::to_string(record_.spec.confirm_timeout.count() / 1000) + " s",
          true);
    case Step::kInstallBoot:
      // Whoever held the lock may have switched to a system of their own.
      if (waiting_for_ == 0) return enter(Step::kReadConfirmed, effect::ReadState{});
      return begin_rollback("installing the boot default did not end in time");
    case Step::kReactivate:
      note_reactivated({});
      return stop_reactivation();
    case Step::kReadSwitched:
      if (waiting_for_ != 0) return on_overdue();
      if (std::exchange(must_switch_again_, false)) return start_switch(false);
      return read_switched();
    case Step::kRestoreBoot:
      return enter(Step::kStopRestoreBoot, effect::StopSwitch{});
    case Step::kWriteEnded:
      if (waiting_for_ == 0) return enter(Step::kWriteEnded, effect::WriteJournal{record_});
      return on_overdue();
    case Step::kVerify:
      // Nothing is awaited between two looks; a look that hangs is an error.
      if (waiting_for_ != 0) return on_overdue();
      if (std::exchange(must_reactivate_again_, false)) return reactivate();
      return verify();
    case Step::kStopForRollback:
    case Step::kReadForRollback:
      if (waiting_for_ == 0) return stop_for_rollback(1);  // for want of resources
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

// Nothing is awaited until then.
void Activation::look_later(Millis delay) {
  waiting_for_ = 0;
  wake_ = now_ + delay;
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

std::string Activation::unit(const char* purpose, size_t number) const {
  return unit(purpose) + "-" + std::to_string(number);
}

}  // namespace flurry
