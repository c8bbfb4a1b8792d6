#include <algorithm>
#include <utility>

#include "core/activation.h"

// Is it back? The proof of a rollback: what runs, its units, the profiles and the boot default are the
// recorded ones. What can't be seen to be so is not called rolled back.

namespace flurry {
namespace {

constexpr Millis kVerifyInterval{500};
// A lock that somebody else holds is tried again so often.
constexpr Millis kLockInterval{1'000};
constexpr int kTryAgain = 11;  // EAGAIN: of the lock, among others
// Of switch-to-configuration.
constexpr int kUnitsFailed = 4;

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

std::string name_of(const std::optional<StorePath>& path) { return path ? path->str() : "no known system"; }

}  // namespace

void Activation::verify() {
  enter(Step::kVerify,
        effect::ReadState{.units = run_ ? report_units(run_->report) : std::vector<std::string>()});
}

// What somebody else may have made of the host meanwhile: none of the systems that this story knows.
bool Activation::is_third_system(const std::optional<StorePath>& path) const {
  const SystemState& before = record_.before;
  const auto system = system_index();
  return path && system && changes(*system) && path != before.running && path != before.profile &&
         path != before.boot_default && *path != profile(*system).new_path &&
         *path != profile(*system).runs_as();
}

// After a reboot the boot menu may have brought it: it is somebody's only where more than that names one.
bool Activation::runs_anothers_system(const SystemState& state) const {
  const bool is_chosen = !rebooted_ || is_third_system(state.profile) || is_third_system(state.boot_default);
  return record_.spec.goal != Goal::kBoot && is_third_system(state.running) && is_chosen;
}

std::string Activation::third_systems(const SystemState& state) const {
  return "somebody else switched the host meanwhile: it runs " + name_of(state.running) +
         ", its profile names " + name_of(state.profile) +
         (state.boot_default ? ", it would boot " + name_of(state.boot_default)
                             : std::string(", what its boot loader would start can't be read")) +
         "; what is not ours was left as it is";
}

std::optional<StorePath> Activation::recorded_boot_default() const {
  const SystemState& before = record_.before;
  if (before.boot_default) return before.boot_default;
  return before.profile ? before.profile : before.running;
}

// Its lines and its exit code add reasons; what became of the units is looked at anyway.
void Activation::judge_way_back(const SystemState& state) {
  const SwitchRun run = *std::exchange(run_, std::nullopt);
  queued_ = run.report.queued_units;
  const SwitchVerdict verdict = judge_switch(run, record_.before, state, {}, Direction::kBack);
  // One that met a held lock has brought nothing back, however much the host looks as it did.
  const bool is_untouched = verdict.kind == SwitchVerdict::Kind::kUntouched;
  const bool met_lock = is_untouched && (state.is_switch_locked || run.exit_code == kTryAgain);
  // Nor where nobody can see whose /etc it is, which after a reboot is that of what runs, nor one that may
  // have failed at its activation script without a word.
  const bool is_unseen = is_untouched && (!record_.before.etc || !run.has_output) && !rebooted_;
  const bool is_bad = verdict.kind == SwitchVerdict::Kind::kFailed || met_lock || is_unseen;
  // Nor has one that did nothing mended what the one before it failed at.
  if (is_bad || !is_untouched) back_failure_ = is_bad ? std::optional(verdict.why) : std::nullopt;
  const bool is_locked_out = is_bad && run.exit_code != 0 && state.is_switch_locked;
  if (is_locked_out) back_failure_ = "somebody else's switch-to-configuration holds its lock; " + verdict.why;
  must_reactivate_again_ = is_locked_out && now_ + kLockInterval < retry_until_;
  if (back_failure_) complaint_ = *back_failure_;
  if (run.exit_code == 0) return;
  note_failed_reloads(run.report);
  const bool is_silent = run.exit_code == kUnitsFailed ? !run.report.explains_failure() : !run.has_output;
  if (is_silent && may_reload_ && !is_locked_out) note_unknown_reloads(state);
}

// The next switch back finds nothing to reload, whatever became of this one.
void Activation::note_failed_reloads(const SwitchReport& report) {
  for (const auto& job : report.failed_jobs)
    if (job.type == "reload")
      record_.not_undone = "the reload of " + job.unit + " failed on the way back, so it still has the new " +
                           "release's configuration in effect; restart it";
}

// Of a switch back that failed and of which nothing can be read.
void Activation::note_unknown_reloads(const SystemState& state) {
  if (may_have_to_reload(state) || !record_.not_undone.empty()) return;
  record_.not_undone =
      "a switch on the way back failed and what it printed is lost, so nobody can tell whether services have "
      "reloaded the recorded configuration; restart those that the new release changes";
}

// Units are reloaded last of all: before that something else runs, or the list of them is there for the next
// switch.
bool Activation::may_have_to_reload(const SystemState& state) const {
  const auto& lists = state.leftovers;
  return state.running != record_.before.running || state.etc != record_.before.etc ||
         std::find(lists.begin(), lists.end(), "reload-list") != lists.end();
}

// A reboot ends what somebody had started by hand, and units that only the boot before had generated.
SystemState Activation::without_what_a_reboot_ends(SystemState state) const {
  if (rebooted_)
    std::erase_if(state.missing_units, [](const MissingUnit& unit) {
      return unit.may_end || unit.state == MissingUnit::State::kRemoved;
    });
  return state;
}

void Activation::on_verify(const SystemState& seen) {
  const SystemState state = without_what_a_reboot_ends(seen);
  is_running_anothers_ = runs_anothers_system(state);
  const std::string known = record_.not_undone;
  if (std::exchange(is_earlier_silent_, false)) note_unknown_reloads(state);
  if (run_ && !is_running_anothers_) judge_way_back(state);
  // Durable before it is gone on with: the next switch back would find nothing to reload.
  if (record_.not_undone != known)
    return enter_write(Step::kWriteNotUndone, Phase::kRollingBack, record_.deadline);
  if (must_reactivate_again_) {
    at_ = *system_index();
    return look_later(kLockInterval);
  }
  is_profile_anothers_ = is_third_system(state.profile);
  is_boot_anothers_ |= is_third_system(state.boot_default);
  has_leftovers_ = !state.leftovers.empty();
  const std::string wrong = what_is_wrong(state);
  if (wrong.empty()) {
    if (is_running_anothers_ || is_profile_anothers_ || is_boot_anothers_)
      return end(Outcome::kSuperseded, record_.reason + "; " + third_systems(state));
    const bool untouched = record_.spec.goal == Goal::kBoot;
    return end(untouched ? Outcome::kFailedUnchanged : Outcome::kRolledBack, record_.reason);
  }
  const bool is_hopeless = changes_system() && !record_.before.running && state.running;
  if (is_hopeless) return end_rollback_failed(wrong);
  const bool is_waiting = !waiting_jobs(record_.before, state, queued_).empty();
  const auto startable = startable_units(state);
  const bool may_start = record_.spec.goal != Goal::kBoot && state.running == record_.before.running;
  if (may_start && !is_waiting && !startable.empty() && !has_started_lost_) {
    has_started_lost_ = true;
    verify_until_ = now_ + kSettle;
    return enter(Step::kStartLost, effect::StartUnits{startable});
  }
  if (now_ < verify_until_ || (is_waiting && now_ < verify_at_most_)) return look_later(kVerifyInterval);
  is_back_already_ = false;
  if (attempts_ < kAttemptsMax) return enter(Step::kReadForRollback, effect::ReadState{});
  end_rollback_failed(wrong);
}

std::string Activation::what_is_wrong_with_boot(const SystemState& state) const {
  if (is_boot_anothers_ || !changes_system()) return "";
  const auto recorded = recorded_boot_default();
  if (!state.boot_default || !recorded)
    return is_boot_restored_ ? "" : "the boot default could not be set to the recorded system";
  if (state.boot_default == recorded || state.boot_default == record_.before.profile) return "";
  return "the boot loader names " + state.boot_default->str() + ", not the recorded " + recorded->str();
}

std::string Activation::what_is_wrong(const SystemState& state) const {
  const SystemState& before = record_.before;
  const std::string because = complaint_.empty() ? "" : " (" + complaint_ + ")";
  // Goal boot switches nothing: where another old system runs now, that is a reboot's doing.
  const bool is_switched = record_.spec.goal != Goal::kBoot && !is_running_anothers_;
  const bool may_be_another = !is_switched && !runs_new_system(state);
  if (changes_system() && !may_be_another && state.running != before.running)
    return "the running system is " + (state.running ? state.running->str() : std::string("unknown")) +
           ", not the recorded one" + because;
  if (changes_system() && is_switched && state.etc != before.etc)
    return "/etc is not the recorded system's" + because;
  for (size_t i = 0; i < record_.spec.profiles.size(); ++i) {
    const bool is_anothers = profile(i).is_system() ? is_profile_anothers_ : is_running_anothers_;
    const auto now = profile_state(state, profile(i)).path;
    if (changes(i) && !is_anothers && now != profile_state(before, profile(i)).path)
      return about(i) + "the profile does not name the recorded closure" + because;
  }
  if (const std::string boot = what_is_wrong_with_boot(state); !boot.empty()) return boot + because;
  if (!not_undone_.empty()) return not_undone_;
  if (!record_.not_undone.empty()) return record_.not_undone;
  if (!is_switched) return "";
  if (back_failure_) return *back_failure_;
  if (!state.leftovers.empty() && state.leftovers != before.leftovers)
    return "a switch that was broken off left " + joined(state.leftovers) + " in /run/nixos";
  const auto lost = lost_units(state, Direction::kBack);
  if (!lost.empty()) return "not restored: " + joined(lost);
  const auto failed = newly_failed(state.failed_units, before.failed_units);
  if (!failed.empty()) return "units failed that had not failed before: " + joined(failed);
  const auto waiting = waiting_jobs(before, state, queued_);
  return waiting.empty() ? "" : "jobs still wait: " + joined(waiting);
}

}  // namespace flurry
