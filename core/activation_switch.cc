#include <algorithm>
#include <utility>

#include "core/activation.h"

// From the look at the present system to a switch that went well, or not.

namespace flurry {
namespace {

constexpr size_t kOutputMax = 16 << 10;
constexpr Millis kJobsInterval{500};
constexpr Millis kLockInterval{1'000};
constexpr int kTryAgain = 11;  // EAGAIN: of the lock, among others

std::string tail(std::string text, size_t max) {
  if (text.size() > max) text.erase(0, text.size() - max);
  return text;
}

}  // namespace

void Activation::on_before(const SystemState& state) {
  record_.before = state;
  const ActivationSpec& spec = record_.spec;
  const auto first = first_changed();
  const std::string left_alone = what_a_test_leaves_alone();
  if (!first && !left_alone.empty()) return end(Outcome::kFailedUnchanged, left_alone);
  const auto system = system_index();
  const bool waits_for_boot =
      spec.goal == Goal::kBoot && system && state.running != profile(*system).runs_as();
  if (!first && waits_for_boot) return end(Outcome::kStaged, "");
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
  const bool is_system = profile(at_).is_system();
  const bool is_dry = record_.spec.goal == Goal::kDryActivate;
  if (is_system && !is_dry) run_ = run_of(exit, "");
  const std::string what = about(at_) + (is_system ? "switch-to-configuration " : "its activation ");
  if (!exit.exit_code) return stop_switch(what + "was killed or lost");
  const std::string code = "exited with " + std::to_string(*exit.exit_code);
  if (is_system && !is_dry) return read_switched();
  if (exit.exit_code == 0) return on_profile_activated();
  if (is_dry) return end(Outcome::kFailedUnchanged, about(at_) + "dry-activate " + code);
  fail(what + code);
}

// However it ends from here, nothing of it may go on behind the outcome's back.
void Activation::stop_switch(std::string reason) {
  record_.reason = std::move(reason);
  enter(Step::kStopSwitch, effect::StopSwitch{unit("switch")});
}

void Activation::on_switch_stopped(const std::string& output) {
  const bool is_system = profile(at_).is_system() && record_.spec.goal != Goal::kDryActivate;
  if (!is_system) return fail(record_.reason);
  record_.output = tail(record_.output + output, kOutputMax);
  run_ = run_of({std::nullopt, output}, record_.reason);
  read_switched();
}

void Activation::read_switched() {
  enter(Step::kReadSwitched, effect::ReadState{.units = report_units(run_->report)});
}

WantedSystem Activation::new_system() const {
  const auto system = system_index();
  if (!system) return {};
  return {profile(*system).runs_as(), profile(*system).etc};
}

void Activation::on_switched(const SystemState& state) {
  const SwitchVerdict verdict = judge_switch(*run_, record_.before, state, new_system(), Direction::kForward);
  switch (verdict.kind) {
    case SwitchVerdict::Kind::kWell:
      return on_profile_activated();
    case SwitchVerdict::Kind::kUntouched:
      return on_untouched(state, verdict.why);
    case SwitchVerdict::Kind::kWaiting:
      if (now_ < record_.deadline) return look_later(kJobsInterval);
      return fail("the switch did not end within its activation timeout: " + verdict.why);
    case SwitchVerdict::Kind::kFailed:
      return fail(verdict.why);
  }
}

// A lock that comes free in time costs nothing but the wait.
void Activation::on_untouched(const SystemState& state, const std::string& why) {
  const bool was_locked = state.is_switch_locked || (run_->exit_code == kTryAgain && !is_lock_free_);
  if (was_locked && run_->stopped.empty() && now_ + kLockInterval < record_.deadline) {
    is_lock_free_ = !state.is_switch_locked;  // once more where it has just come free
    must_switch_again_ = true;
    return look_later(kLockInterval);
  }
  // Somebody else may have made it the profile and the boot default meanwhile.
  const SystemState& before = record_.before;
  const bool is_committed = state.profile != before.profile || state.boot_default != before.boot_default;
  if (at_ != first_changed() || is_committed) return fail(why);
  if (!recovered_) return end(Outcome::kFailedUnchanged, why);
  // An earlier life may have gone back already, and a full disk have refused the journal.
  record_.reason = why;
  enter(Step::kLookForWayBack, effect::StopSwitch{unit("rollback", 1)});
}

void Activation::on_looked_for_way_back(bool was_begun) {
  if (was_begun) return fail(record_.reason);
  end(Outcome::kFailedUnchanged, record_.reason);
}

}  // namespace flurry
