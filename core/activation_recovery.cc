#include "core/activation.h"

namespace flurry {

Activation Activation::recover(ActivationRecord record, const std::string& boot_id) {
  const bool rebooted = record.before.boot_id != boot_id;
  Activation activation(std::move(record));
  activation.recovered_ = true;
  activation.is_journalled_ = true;
  activation.rebooted_ = rebooted;
  return activation;
}

// A window without a deadman is one that nobody would end: back at once, while that can still be driven.
void Activation::on_not_armed_again(const Error& error) {
  const bool is_window = record_.phase >= Phase::kSwitching && record_.phase <= Phase::kAwaitingConfirmation;
  if (is_window && !rebooted_)
    return begin_rollback("the deadman could not be armed again: " + error.message);
  resume();
}

void Activation::resume() {
  if (rebooted_) return enter(Step::kReadAfterBoot, effect::ReadState{});
  resume_same_boot();
}

// The process that drove it is gone, the kernel is the same.
void Activation::resume_same_boot() {
  const bool stopped = record_.holder_stopped;
  // One that is killed comes back at once. Past the deadline nobody can tell whether it was frozen, or gone.
  const std::string gone = now_ < record_.deadline
                               ? "the agent was killed"
                               : "the deadline passed: the agent got stuck, or ended and was not replaced,";
  record_.holder_stopped = false;
  switch (record_.phase) {
    case Phase::kPrepared:  // has ended already
    case Phase::kSwitching:
      // The switch itself may have restarted the agent; its unit lives on by itself.
      at_ = record_.at;
      if (now_ < record_.deadline) return start_profile(true);
      return stop_switch(
          stopped ? "the agent was stopped during the activation, and nobody went on by the deadline"
                  : "the agent got stuck during the activation, and its deadline passed");
    case Phase::kChecking:
      if (stopped) return enter_write(Step::kWriteChecking, Phase::kChecking, record_.deadline);
      return fail(gone + " while the new system was being checked", true);
    case Phase::kAwaitingConfirmation:
      // Death in good order (a restart) loses nothing. A kill on a system that nobody has confirmed
      // yet is one more sign that it is not well.
      if (stopped && now_ < record_.deadline)
        return enter_write(Step::kWriteAwaiting, Phase::kAwaitingConfirmation, record_.deadline);
      return fail(stopped ? "no confirmation came before the deadline"
                          : gone + " while it waited for the confirmation",
                  true);
    case Phase::kCommitted:
      return end_committed();  // to do it again could only fail
    case Phase::kConfirmed:
    case Phase::kProfileSet:
      // Nobody can tell by what runs whether it had turned back, when the journal refused to take that.
      if (record_.spec.goal == Goal::kBoot) return begin_rollback("the agent died before it was committed");
      return start_commit();
    case Phase::kRollingBack:
      return begin_rollback(record_.reason);
    case Phase::kEnded:
      return end(Outcome::kRollbackFailed, "the journal ends without an outcome");
  }
}

// The kernel is another: the boot default decided what runs now, and until the commit that was the old.
void Activation::on_state_after_boot(const SystemState& state) {
  const bool runs_new = runs_new_system(state);
  const bool runs_recorded = !changes_system() || state.running == record_.before.running;
  const bool was_going_back = record_.phase == Phase::kRollingBack;
  if (record_.phase == Phase::kCommitted && (runs_new || record_.spec.goal == Goal::kBoot))
    return end_committed();
  if (!was_going_back && may_have_committed() && runs_new) return start_commit();
  record_.not_undone.clear();  // services have started with what they find
  is_back_already_ = runs_recorded && !may_have_committed();
  begin_rollback(record_.reason.empty() ? "the host rebooted before the deployment was committed"
                                        : record_.reason);
}

}  // namespace flurry
