#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/activation_record.h"
#include "core/health_gate.h"
#include "core/result.h"
#include "core/switch_verdict.h"
#include "core/time.h"

namespace flurry {

// What an activation asks its host to do. Each is started by the driver, and its end is told back as
// an EffectEnded with the same id. Every effect must be safe to repeat: a crash may lose its end.
namespace effect {

enum class SwitchAction { kTest, kBoot, kDryActivate, kActivate };

// -> SystemState. The recorded state is read once, as a baseline; later ones are compared with it.
struct ReadState {
  bool is_baseline = false;
  std::vector<std::string> units = {};  // whose states are wanted too
};
struct WriteJournal {
  ActivationRecord record;
};                    // durable when it ends
struct HoldRoots {};  // GC roots on the new and the recorded system
struct ReleaseRoots {};
struct ArmDeadman {};  // the deadman follows the journal's deadline
struct DisarmDeadman {};
// Runs the activation of a profile's closure (a system's bin/switch-to-configuration, or with kActivate
// what a user profile brings along) in a transient unit of its own; -> SwitchExit. With `attach` it only
// waits for a unit that an earlier life of the driver may have started.
struct RunSwitch {
  StorePath closure;
  SwitchAction action;
  std::string unit;
  bool attach = false;
  size_t profile = 0;  // index into the spec's profiles
};
// Ends with every switch unit of the deployment gone; -> SwitchExit with the last output of `unit`, if named,
// and whether it was started since the host booted.
struct StopSwitch {
  std::string unit = {};
};
// Removes what a broken-off switch has left and the next one would stop at: all but the restarts and reloads
// of units that are active. Without those, these would keep what the other system gave them.
struct ClearLeftovers {};
// Starts units that going back did not bring back. Ends when the jobs are queued.
struct StartUnits {
  std::vector<std::string> units;
};
struct RunCheck {
  size_t index;
};  // -> CheckResult
struct SetProfile {
  StorePath path;
  size_t profile = 0;
};
struct RestoreProfile {
  std::optional<uint64_t> generation;  // none: the profile did not exist, or had no generations
  size_t profile = 0;
};

using Any =
    std::variant<ReadState, WriteJournal, HoldRoots, ReleaseRoots, ArmDeadman, DisarmDeadman, RunSwitch,
                 StopSwitch, ClearLeftovers, StartUnits, RunCheck, SetProfile, RestoreProfile>;

}  // namespace effect

using EffectId = uint64_t;

struct Effect {
  EffectId id;
  effect::Any what;
};

struct SwitchExit {
  std::optional<int> exit_code;  // none: killed, or never found
  std::string output;            // the last lines it printed
  // Its program holds the sentences by which a failed activation script is known from the output.
  bool tells_failed_activation = true;
  bool has_run = false;  // of a unit that was stopped: since the host booted
};

// As it is to be judged; `stopped` says why it was stopped, if it was.
SwitchRun run_of(const SwitchExit& exit, std::string stopped);

struct CheckResult {
  bool passed;
  std::string message;
};

using EffectValue = std::variant<std::monostate, SystemState, SwitchExit, CheckResult>;

struct EffectEnded {
  EffectId id;
  Result<EffectValue> result;
};

// The controller's word over a newly dialled connection. A wrong nonce is ignored.
struct ConfirmReceived {
  std::string nonce;
};

// Somebody who knows the nonce wants it undone. Ignored from the confirmation on.
struct RollbackRequested {
  std::string nonce;
  std::string reason;
};

using ActivationInput = std::variant<EffectEnded, ConfirmReceived, RollbackRequested>;

// How much longer than the recorded deadline the deadman waits for the agent to act by itself.
inline constexpr Millis kDeadmanGrace{3000};

// One deployment on one host: test, check, confirm, commit, or back (CONTRACT section 2, 3 to 9).
// A state machine without I/O: the driver calls step() with the time and what happened, starts the
// effects it returns, and calls again by next_wakeup(). The agent and the deadman drive the same one.
// One thread at a time.
class Activation {
 public:
  static Activation begin(ActivationSpec spec, long long unix_ms);

  // Goes on from a journal. `boot_id` is that of the running kernel.
  static Activation recover(ActivationRecord record, const std::string& boot_id);

  std::vector<Effect> step(TimePoint now, std::vector<ActivationInput> inputs);

  // When step() must be called again even if nothing happens; none once finished.
  std::optional<TimePoint> next_wakeup() const;

  // True when the outcome is known, is in the journal, and all is cleaned up.
  bool is_finished() const { return step_ == Step::kDone; }

  const ActivationRecord& record() const { return record_; }

  // What health checks say at the moment, for people; empty outside of checking.
  std::vector<std::string> health_report() const;

 private:
  // What the machine waits for: the end of one effect, or (kCheck, kAwait) an input or the clock.
  enum class Step {
    kReadBefore,
    kArmAgain,
    kWritePrepared,
    kHoldRoots,
    kArmDeadman,
    kWriteSwitching,
    kSetBeforeSwitch,
    kSwitch,
    kStopSwitch,
    kReadSwitched,
    kLookForWayBack,
    kWriteChecking,
    kCheck,
    kWriteAwaiting,
    kAwait,
    kWriteConfirmed,
    kReadConfirmed,
    kSetProfile,
    kWriteProfileSet,
    kInstallBoot,
    kWriteCommitted,
    kReadAfterBoot,
    kReadCommitted,
    kWriteRollingBack,
    kStopForRollback,
    kReadForRollback,
    kClearLeftovers,
    kWriteNotUndone,
    kRestoreProfile,
    kRestoreBoot,
    kStopRestoreBoot,
    kReactivate,
    kStopReactivate,
    kVerify,
    kStartLost,
    kWriteEnded,
    kDisarmDeadman,
    kReleaseRoots,
    kDone,
  };

  // Whole tries to go back.
  static constexpr int kAttemptsMax = 2;
  // Units may pass through a failed state while the old system settles.
  static constexpr Millis kSettle{10'000};

  explicit Activation(ActivationRecord record) : record_(std::move(record)) {}

  // The loop, in activation.cc.
  void enter(Step step, effect::Any what);
  void enter_write(Step step, Phase phase, TimePoint deadline);
  void start_first_effect();
  void on_ended(const EffectEnded& ended);
  void on_value(const EffectValue& value);
  void on_error(const Error& error);
  void on_confirm(const ConfirmReceived& confirm);
  void on_time();
  void on_overdue();
  void on_end_refused();
  void look_later(Millis delay);
  void end(Outcome outcome, std::string reason);
  std::string unit(const char* purpose) const;
  std::string unit(const char* purpose, size_t number) const;

  // To the end of the switch, in activation_switch.cc.
  void on_before(const SystemState& state);
  std::string what_to_go_back_to_lacks() const;
  void start_profile(bool attach);
  void start_switch(bool attach);
  void on_switch_exit(const SwitchExit& exit);
  void stop_switch(std::string reason);
  void on_switch_stopped(const std::string& output);
  void read_switched();
  void on_switched(const SystemState& state);
  void on_untouched(const SystemState& state, const std::string& why);
  void on_looked_for_way_back(bool was_begun);
  void on_profile_activated();
  WantedSystem new_system() const;

  // Is the new system healthy? In activation_checks.cc.
  void start_checks();
  void on_check(const EffectEnded& ended);
  void on_units_read(const Result<EffectValue>& result);
  void pump_checks();
  void confirm_or_commit();

  // From the confirmation on, in activation_commit.cc.
  void start_commit();
  void set_profile(std::optional<size_t> index);
  void install_boot(std::optional<size_t> index);
  void on_boot_installed(const SwitchExit& exit);
  void on_confirmed_read(const SystemState& state);
  void on_commit_read(const SystemState& state);
  std::string what_is_not_committed(const SystemState& state) const;
  bool runs_what_was_confirmed(const SystemState& state) const;
  void end_committed();

  // In activation_profiles.cc: profiles that this deployment changes; the others already are what they shall
  // be.
  bool changes(size_t index) const;
  bool is_active(size_t index) const;
  std::optional<size_t> first_changed(size_t from = 0) const;
  Millis for_each_profile(Millis timeout) const;
  const ProfileSpec& profile(size_t index) const { return record_.spec.profiles[index]; }
  std::optional<size_t> system_index() const;
  bool changes_system() const;
  bool runs_new_system(const SystemState& state) const;
  bool boots_new_system(const SystemState& state, size_t index) const;
  std::string what_a_test_leaves_alone() const;
  std::string about(size_t index) const;

  // Recovery, in activation_recovery.cc.
  void on_not_armed_again(const Error& error);
  void resume();
  void resume_same_boot();
  void on_state_after_boot(const SystemState& state);

  // Back, in activation_rollback.cc.
  void fail(std::string reason, bool is_lost_confirmation = false);
  void begin_rollback(std::string reason);
  bool may_end_otherwise() const;
  void on_way_back(const SystemState& state, const SwitchExit& exit);
  void continue_rollback();
  void verify_only();
  void on_state_to_go_back_from(const SystemState& state);
  void start_attempt();
  void plan_attempt();
  void restore_next();
  void restore_boot();
  void on_boot_restored(const SwitchExit& exit);
  void reactivate();
  void reactivate_user_profile();
  void on_reactivated(const SwitchExit& exit);
  void note_reactivated(const SwitchExit& exit);
  void stop_reactivation();
  void on_reactivation_stopped(const SwitchExit& stopped);
  void stop_for_rollback(int attempt);
  void on_stopped_for_rollback(const SwitchExit& stopped);
  void on_rollback_error(const Error& error);
  bool retry_for_want_of_resources(const Error& error);
  void end_rollback_failed(const std::string& why);
  Millis back_timeout() const;
  Phase furthest() const;
  bool may_have_committed() const;
  bool may_have_touched(size_t index) const;

  // Is it back? In activation_verify.cc.
  void verify();
  void on_verify(const SystemState& seen);
  SystemState without_what_a_reboot_ends(SystemState state) const;
  void judge_way_back(const SystemState& state);
  void note_failed_reloads(const SwitchReport& report);
  void note_unknown_reloads(const SystemState& state);
  bool may_have_to_reload(const SystemState& state) const;
  std::string what_is_wrong(const SystemState& state) const;
  std::string what_is_wrong_with_boot(const SystemState& state) const;
  bool is_third_system(const std::optional<StorePath>& path) const;
  bool runs_anothers_system(const SystemState& state) const;
  std::string third_systems(const SystemState& state) const;
  std::optional<StorePath> recorded_boot_default() const;

  ActivationRecord record_;
  Step step_ = Step::kReadBefore;
  size_t at_ = 0;  // the profile at hand
  bool is_attaching_ = false;
  std::optional<size_t> never_activated_;  // a user profile that could not even be set
  bool started_ = false;
  bool recovered_ = false;
  bool rebooted_ = false;
  bool is_journalled_ = false;
  bool was_confirmed_early_ = false;
  bool is_commit_written_ = true;  // false: committed, and the journal does not know
  std::vector<Effect> out_;        // collected during one step()
  TimePoint now_{};
  EffectId next_id_ = 1;
  EffectId waiting_for_ = 0;
  std::optional<TimePoint> wake_;  // of the present step
  std::optional<HealthGate> gate_;
  std::vector<std::pair<EffectId, size_t>> running_checks_;
  EffectId units_read_ = 0;
  std::optional<std::string> requested_rollback_;  // came while it could not be obeyed yet
  std::optional<SwitchRun> run_;                   // the switch that is to be judged
  bool must_switch_again_ = false;                 // it met a held lock
  bool is_lock_free_ = false;                      // at the look after that

  // The way back.
  int attempts_ = 0;
  std::vector<size_t> to_restore_;           // in this attempt, the last first
  std::string not_undone_;                   // of user profiles, in this attempt
  bool is_running_anothers_ = false;         // a third system runs, and stays
  bool is_profile_anothers_ = false;         // it names a third system and stays
  bool is_boot_anothers_ = false;            // likewise
  bool must_restore_profile_ = false;        // somebody set it to the new system
  bool must_restore_boot_ = false;           // likewise
  bool is_boot_restored_ = true;             // false from the try on until it succeeds
  std::optional<std::string> back_failure_;  // what the last switch back has against it
  bool must_reactivate_again_ = false;       // it met a held lock
  std::vector<std::string> queued_;          // units that it named
  bool has_leftovers_ = false;               // at the last look
  std::string complaint_;                    // the last thing that verification found wrong
  bool has_started_lost_ = false;            // in this attempt
  int looked_at_earlier_ = 0;                // attempts of an earlier life whose lines were read
  bool is_earlier_silent_ = false;           // nothing could be read of them
  bool may_reload_ = true;                   // in this attempt: something runs that is not the recorded
  TimePoint verify_until_{};
  TimePoint verify_at_most_{};    // while jobs wait
  TimePoint retry_until_{};       // for a lock, or for resources
  bool is_back_already_ = false;  // a reboot brought the recorded system back
};

}  // namespace flurry
