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

constexpr Millis kWriteAgain{1'000};

constexpr size_t kOutputMax = 16 << 10;
constexpr size_t kReasonMax = 4 << 10;

std::string tail(std::string text, size_t max) {
  if (text.size() > max) text.erase(0, text.size() - max);
  return text;
}

}  // namespace

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
  else if (rebooted_ && record_.phase == Phase::kPrepared)
    end(Outcome::kFailedUnchanged, "the host rebooted before the switch began");
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
      return fail(record_.reason);
    case Step::kReadUnswitched:
      if (state && state->running == record_.before.running && at_ == first_changed())
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
      return enter(Step::kReadConfirmed, effect::ReadState{});
    case Step::kReadConfirmed:
      if (state && runs_what_was_confirmed(*state)) return set_profile(first_changed());
      return begin_rollback("the system that was confirmed no longer runs");
    case Step::kSetProfile:
      return set_profile(first_changed(at_ + 1));
    case Step::kWriteProfileSet:
      return install_boot(first_changed());
    case Step::kInstallBoot:
      if (exit && exit->exit_code == kSwitchOk) return install_boot(first_changed(at_ + 1));
      record_.output = tail(exit ? exit->output : "", kOutputMax);
      return begin_rollback(about(at_) + "it could not be made the boot default");
    case Step::kReadCommitted:
      if (state && !runs_what_was_confirmed(*state))
        return begin_rollback("the system that was confirmed no longer runs");
      if (state && is_committed(*state))
        return enter_write(Step::kWriteCommitted, Phase::kCommitted, record_.deadline);
      return begin_rollback("a profile did not name the new closure after it was set");
    case Step::kWriteCommitted:
      return end_committed();
    case Step::kReadAfterBoot:
      return on_state_after_boot(state ? *state : none);
    case Step::kWriteRollingBack:
      return enter(Step::kStopForRollback, effect::StopSwitch{});
    case Step::kStopForRollback:
      return continue_rollback();
    case Step::kRestoreProfile:
      return profile(at_).is_system() ? restore_boot() : reactivate_user_profile();
    case Step::kRestoreBoot:
      return on_boot_restored(exit ? *exit : no_exit);
    case Step::kStopRestoreBoot:
      return reactivate();
    case Step::kReactivate:
      return on_reactivated(exit ? *exit : no_exit);
    case Step::kStopReactivate:
      return restore_next();
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
      if (record_.at != first_changed()) return begin_rollback("write the journal: " + error.message);
      return end(Outcome::kFailedUnchanged, "write the journal: " + error.message);
    case Step::kSetBeforeSwitch:
      never_activated_ = at_;
      return fail(about(at_) + "set the profile: " + error.message);
    case Step::kSwitch:
      return stop_switch("run the switch: " + error.message);
    case Step::kStopSwitch:
      return fail(record_.reason + "; and it could not be stopped: " + error.message);
    case Step::kReadUnswitched:
      return fail(record_.reason + "; what runs now could not be read");
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
    case Step::kWriteRollingBack:
    case Step::kStopForRollback:
    case Step::kRestoreProfile:
    case Step::kRestoreBoot:
    case Step::kStopRestoreBoot:
    case Step::kReactivate:
    case Step::kStopReactivate:
    case Step::kVerify:
      return on_rollback_error(error);
    case Step::kWriteEnded:
      // Tried again until it stands, or the deadman takes over.
      if (may_end_otherwise()) {
        waiting_for_ = 0;
        wake_ = now_ + kWriteAgain;
        return;
      }
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

// Whether the next reader of a journal that does not say this end could come to its contrary: undo a success,
// or commit what could not be undone. Nor may it go back behind a success that was written all the same.
bool Activation::may_end_otherwise() const {
  const bool was_confirmed =
      record_.back_from && *record_.back_from >= Phase::kConfirmed && *record_.back_from <= Phase::kCommitted;
  if (record_.outcome == Outcome::kRollbackFailed) return was_confirmed;
  return !is_commit_written_ || (record_.outcome == Outcome::kSucceeded && record_.spec.goal == Goal::kTest);
}

void Activation::on_before(const SystemState& state) {
  record_.before = state;
  const ActivationSpec& spec = record_.spec;
  const auto first = first_changed();
  const std::string left_alone = what_a_test_leaves_alone();
  if (!first && !left_alone.empty()) return end(Outcome::kFailedUnchanged, left_alone);
  if (!first) return end(Outcome::kUnchanged, "");
  if (!left_alone.empty()) record_.output = "warning: " + left_alone + "\n";
  at_ = *first;
  if (changes_system() && spec.expected_running && state.running != spec.expected_running)
    return end(Outcome::kFailedUnchanged,
               "the host changed since preflight: it now runs " +
                   (state.running ? state.running->str() : std::string("no known system")) + ", not " +
                   spec.expected_running->str() + "; deploy again");
  if (spec.goal == Goal::kDryActivate) return start_switch(false);
  if (const std::string lacking = what_to_go_back_to_lacks(); !lacking.empty() && !spec.allow_no_rollback)
    return end(Outcome::kFailedUnchanged, lacking + std::string(kAllowNoRollback));
  const Millis budget =
      for_each_profile(spec.activation_timeout) + spec.health.deadline + spec.confirm_timeout;
  enter_write(Step::kWritePrepared, Phase::kPrepared, now_ + budget);
}

// What would be missing if this had to be undone; empty: nothing.
std::string Activation::what_to_go_back_to_lacks() const {
  if (record_.spec.goal == Goal::kBoot) return "";
  for (size_t i = 0; i < record_.spec.profiles.size(); ++i) {
    if (!changes(i)) continue;
    const ProfileSpec& spec = profile(i);
    if (spec.is_system() && !record_.before.running) return std::string(kNoRunningSystem);
    if (!spec.is_system() && spec.has_activation && !profile_state(record_.before, spec).path)
      return about(i) + "it has no generation to go back to, and what its activation does can't be undone";
  }
  return "";
}

void Activation::start_profile(bool attach) {
  if (profile(at_).is_system()) return start_switch(attach);
  is_attaching_ = attach;
  enter(Step::kSetBeforeSwitch, effect::SetProfile{profile(at_).new_path, at_});
}

void Activation::start_switch(bool attach) {
  const bool dry = record_.spec.goal == Goal::kDryActivate;
  const bool is_system = profile(at_).is_system();
  const TimePoint latest = now_ + record_.spec.activation_timeout;
  if (dry) record_.deadline = latest;
  enter(Step::kSwitch, effect::RunSwitch{profile(at_).new_path,
                                         dry         ? effect::SwitchAction::kDryActivate
                                         : is_system ? effect::SwitchAction::kTest
                                                     : effect::SwitchAction::kActivate,
                                         is_system ? unit("switch") : unit("activate", at_), attach, at_});
  wake_ = std::min(latest, record_.deadline);
}

void Activation::on_profile_activated() {
  const auto next = first_changed(at_ + 1);
  if (record_.spec.goal == Goal::kDryActivate) {
    if (!next) return end(Outcome::kStaged, "");
    at_ = *next;
    return start_switch(false);
  }
  if (!next) return enter_write(Step::kWriteChecking, Phase::kChecking, now_ + record_.spec.health.deadline);
  record_.at = *next;
  enter_write(Step::kWriteSwitching, Phase::kSwitching, record_.deadline);
}

void Activation::on_switch_exit(const SwitchExit& exit) {
  record_.output = tail(record_.output + exit.output, kOutputMax);
  const std::string what =
      about(at_) + (profile(at_).is_system() ? "switch-to-configuration " : "its activation ");
  if (!exit.exit_code) return stop_switch(what + "was killed or lost");
  const std::string code = "exited with " + std::to_string(*exit.exit_code);
  if (exit.exit_code == kSwitchOk) return on_profile_activated();
  if (record_.spec.goal == Goal::kDryActivate)
    return end(Outcome::kFailedUnchanged, about(at_) + "dry-activate " + code);
  if (!profile(at_).is_system()) return fail(what + code);
  if (exit.exit_code == kSwitchUnitsFailed) return on_profile_activated();
  if (exit.exit_code == kSwitchNotStarted || exit.exit_code == kSwitchNeedsReboot) {
    record_.reason = exit.exit_code == kSwitchNeedsReboot
                         ? "the new system needs a reboot (its init interface changed); nothing was "
                           "switched; deploy it with --goal boot and reboot"
                         : "switch-to-configuration exited with 1 before it switched anything";
    return enter(Step::kReadUnswitched, effect::ReadState{});
  }
  fail("switch-to-configuration " + code);
}

// However it ends from here, nothing of it may go on behind the outcome's back.
void Activation::stop_switch(std::string reason) {
  record_.reason = std::move(reason);
  enter(Step::kStopSwitch, effect::StopSwitch{});
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
      return begin_rollback("installing the boot default did not end in time");
    case Step::kReactivate:
      note_reactivated({});
      return enter(Step::kStopReactivate, effect::StopSwitch{});
    case Step::kRestoreBoot:
      return enter(Step::kStopRestoreBoot, effect::StopSwitch{});
    case Step::kWriteEnded:
      if (waiting_for_ == 0) return enter(Step::kWriteEnded, effect::WriteJournal{record_});
      return on_overdue();
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
  // Never back from profile-set: going back must know that the boot default may be the new one.
  enter_write(Step::kWriteConfirmed, std::max(record_.phase, Phase::kConfirmed),
              now_ + for_each_profile(record_.spec.activation_timeout));
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

// Whoever made it so: a system that does not run was not the one that was healthy.
bool Activation::runs_what_was_confirmed(const SystemState& state) const {
  return record_.spec.goal == Goal::kBoot || runs_new_system(state);
}

void Activation::end_committed() {
  end(record_.spec.goal == Goal::kBoot ? Outcome::kStaged : Outcome::kSucceeded, "");
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
