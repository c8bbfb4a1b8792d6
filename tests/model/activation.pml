/* core/activation*.cc: one deployment on one host. Steps, phases and outcomes have the code's names. */

#include "host.pml"

mtype:step = { kIdle, kReadBefore, kWritePrepared, kHoldRoots, kArmDeadman, kWriteSwitching, kSwitch, 
               kReadUnswitched, kWriteChecking, kCheck, kWriteAwaiting, kAwait, kWriteConfirmed, kSetProfile,
               kWriteProfileSet, kInstallBoot, kWriteCommitted, kReadConfirmed, kReadCommitted, kReadAfterBoot,
               kWriteRollingBack, kStopForRollback, kRestoreProfile, kRestoreBoot, kReactivate, kVerify, kWriteEnded,
               kDisarmDeadman, kReleaseRoots };

/* The live Activation, of whoever holds the lock. */
mtype:step step = kIdle;
bool is_asked = false;                     /* the step's effect has been started */
mtype:phase phase = none;                  /* record_.phase */
mtype:phase phase_before_rollback = none;
mtype:outcome outcome = undecided;
byte attempts = 0;
bool is_boot_unrestored = false;
bool is_back_already = false;

inline forget() {
  step = kIdle; is_asked = false; phase = none; phase_before_rollback = none; outcome = undecided; attempts = 0;
  is_boot_unrestored = false; is_back_already = false
}

inline go(next) { step = next; is_asked = false }
inline go_write(next, p) { phase = p; step = next; is_asked = false }

#define reached (phase == rolling_back -> phase_before_rollback : phase)
#define may_have_committed (reached == confirmed || reached == profile_set || reached == committed)

inline end_with(o) { outcome = o; go_write(kWriteEnded, ended) }

inline begin_rollback() {
  phase_before_rollback = (phase == rolling_back -> committed : phase);
  attempts = 0;
  outcome = undecided;
  go_write(kWriteRollingBack, rolling_back)
}

/* One write of the journal: durable, or refused; a refused one may be durable all the same. */
inline make_durable(is_new_deadline) {
  j_phase = phase; j_outcome = outcome; j_stopped = false;
  if
  :: is_new_deadline -> overdue = false
  :: else
  fi;
  if
  :: phase == ended -> expect_true(outcome)
  :: else
  fi
}

inline write(is_new_deadline, is_written) {
  if
  :: make_durable(is_new_deadline); is_written = true
  :: fault(); is_written = false
  :: fault(); make_durable(is_new_deadline); is_written = false
  fi
}

inline stop(u) {
  if
  :: runs(u) -> unit[u] = gone
  :: else
  fi
}

/* RunSwitch: a unit of that name that runs already is the one that is wanted. One that works in the other
   direction is stopped first (Conflicts=). */
inline run_switch(u) {
#ifndef MUTATE_no_conflicts
  if
  :: u == BOOT -> stop(UNBOOT); stop(ROLLBACK)
  :: u == UNBOOT -> stop(BOOT)
  :: u == ROLLBACK -> stop(SWITCH)
  :: u == SWITCH -> stop(ROLLBACK)
  fi;
#endif
  if
  :: runs(u)
  :: else -> unit[u] = started
  fi;
  is_asked = true
}

inline stop_switches() { stop(SWITCH); stop(BOOT); stop(UNBOOT); stop(ROLLBACK) }

inline continue_rollback() {
  attempts++;
  if
  :: may_have_committed -> go(kRestoreProfile)
  :: !may_have_committed && is_back_already -> go(kVerify)
  :: else -> go(kReactivate)
  fi
}

/* Never back from profile_set: going back must know that the boot default may be the new one. */
inline start_commit() {
#ifdef MUTATE_commit_forgets
  go_write(kWriteConfirmed, confirmed)
#else
  go_write(kWriteConfirmed, (phase == profile_set -> profile_set : confirmed))
#endif
}

/* Activation::recover() and resume_same_boot(). */
inline recover() {
  phase = j_phase;
  outcome = undecided;
  phase_before_rollback = (phase == rolling_back -> committed : none);
  if
#ifdef MUTATE_prepared_goes_back
  :: j_other_boot -> go(kReadAfterBoot)
  :: !j_other_boot && phase == prepared -> end_with(failed_unchanged)
#else
  :: phase == prepared -> end_with(failed_unchanged)
  :: j_other_boot && phase != prepared -> go(kReadAfterBoot)
#endif
  :: !j_other_boot && phase == switching -> go(kSwitch); is_asked = true        /* attach */
#ifdef MUTATE_killed_while_checking
  :: !j_other_boot && phase == checking -> go_write(kWriteChecking, checking)
#else
  :: !j_other_boot && phase == checking && j_stopped -> go_write(kWriteChecking, checking)
  :: !j_other_boot && phase == checking && !j_stopped -> begin_rollback()
#endif
  :: !j_other_boot && phase == awaiting_confirmation && j_stopped && !overdue ->
     go_write(kWriteAwaiting, awaiting_confirmation)
  :: !j_other_boot && phase == awaiting_confirmation && (!j_stopped || overdue) -> begin_rollback()
  :: !j_other_boot && (phase == confirmed || phase == profile_set) -> start_commit()
#ifdef MUTATE_committed_commits_again
  :: !j_other_boot && phase == committed -> go_write(kWriteConfirmed, confirmed)
#else
  :: !j_other_boot && phase == committed -> end_with(succeeded)
#endif
  :: !j_other_boot && phase == rolling_back -> begin_rollback()
  fi
}

/* Activation::on_state_after_boot(). */
inline on_state_after_boot() {
  if
  :: phase != rolling_back && may_have_committed && running == NEW ->
#ifdef MUTATE_committed_commits_again
     go_write(kWriteConfirmed, confirmed)
#else
     if
     :: phase == committed -> end_with(succeeded)
     :: else -> start_commit()
     fi
#endif
  :: phase == prepared && running != NEW -> end_with(failed_unchanged)
  :: else ->
     is_back_already = (running == OLD && !may_have_committed);
     begin_rollback()
  fi
}

inline verify() {
  if
  :: running == OLD && (!may_have_committed || profile == DEFAULT) && !is_boot_unrestored ->
     end_with(rolled_back)
  :: else ->
     is_back_already = false;
     if
     :: attempts < 2 -> continue_rollback()
     :: attempts >= 2 -> end_with(rollback_failed)
     fi
  fi
}

inline finish() {
  if
  :: j_phase != ended && driver == AGENT -> untold = outcome
  :: else
  fi;
  driver = NOBODY; lock = NOBODY; forget()
}

#define may_step (driver == DEADMAN || (driver == AGENT && agent == up))

/* Activation::step(): waits, then does one step and starts the next. */
active proctype Driver() {
  bool is_written = false;
end:
  do
  :: atomic { may_step && step == kReadBefore ->
       if
       :: go_write(kWritePrepared, prepared)
       :: fault(); outcome = failed_unchanged; finish()
       fi }
  :: atomic { may_step && step == kWritePrepared ->
       write(true, is_written);
       if
       :: is_written -> go(kHoldRoots)
       :: else -> end_with(failed_unchanged)
       fi }
  :: atomic { may_step && step == kHoldRoots ->
       if
       :: roots = true; go(kArmDeadman)
       :: fault(); end_with(failed_unchanged)
       fi }
  :: atomic { may_step && step == kArmDeadman ->
       if
#ifdef MUTATE_no_deadman
       :: go_write(kWriteSwitching, switching)
#else
       :: deadman = true; go_write(kWriteSwitching, switching)
#endif
       :: fault(); end_with(failed_unchanged)
       fi }
  :: atomic { may_step && step == kWriteSwitching ->
#ifdef MUTATE_journal_after_switch
       if
       :: !is_asked -> run_switch(SWITCH)
       :: is_asked -> j_phase = switching; overdue = false; step = kSwitch
       fi
#else
       write(true, is_written);
       if
       :: is_written -> go(kSwitch)
       :: else -> end_with(failed_unchanged)
       fi
#endif
     }
  :: atomic { may_step && step == kSwitch && !is_asked -> assert(roots); run_switch(SWITCH) }
  :: atomic { may_step && step == kSwitch && is_asked && unit[SWITCH] == exit_ok ->
       go_write(kWriteChecking, checking) }
  :: atomic { may_step && step == kSwitch && is_asked && unit[SWITCH] == exit_untouched -> go(kReadUnswitched) }
  :: atomic { may_step && step == kSwitch && is_asked && (unit[SWITCH] == exit_bad || unit[SWITCH] == gone) ->
       begin_rollback() }
  :: atomic { may_step && step == kSwitch && is_asked && overdue -> begin_rollback() }
  :: atomic { may_step && step == kReadUnswitched ->
       if
       :: running == OLD -> end_with(failed_unchanged)
       :: else -> begin_rollback()
       fi }
  :: atomic { may_step && step == kWriteChecking ->
       write(true, is_written);
       if
       :: is_written -> go(kCheck)
       :: else -> begin_rollback()
       fi }
  :: atomic { may_step && step == kCheck ->
       if
#ifdef MUTATE_commit_unconfirmed
       :: go_write(kWriteConfirmed, confirmed)
#else
       :: !overdue -> go_write(kWriteAwaiting, awaiting_confirmation)    /* healthy */
#endif
       :: begin_rollback()
       fi }
  :: atomic { may_step && step == kWriteAwaiting ->
       write(!j_stopped || j_phase != awaiting_confirmation, is_written);
       if
       :: is_written -> go(kAwait)
       :: else -> begin_rollback()
       fi }
  :: atomic { may_step && step == kAwait && overdue -> begin_rollback() }
  :: atomic { may_step && step == kWriteConfirmed ->
       write(true, is_written);
       if
       :: is_written -> go(kReadConfirmed)
       :: else -> begin_rollback()
       fi }
  :: atomic { may_step && step == kReadConfirmed ->
       if
#ifdef MUTATE_commit_what_does_not_run
       :: go(kSetProfile)
#else
       :: running == NEW -> go(kSetProfile)
       :: running != NEW -> begin_rollback()
#endif
       :: fault(); begin_rollback()
       fi }
  :: atomic { may_step && step == kSetProfile && !is_asked -> op = set_profile; is_asked = true }
  :: atomic { may_step && step == kSetProfile && is_asked && op == no_op ->
       if
       :: profile == NEW -> go_write(kWriteProfileSet, profile_set)
       :: else -> begin_rollback()
       fi }
  :: atomic { may_step && step == kWriteProfileSet ->
       write(false, is_written);
       if
       :: is_written -> go(kInstallBoot)
       :: else -> begin_rollback()
       fi }
  :: atomic { may_step && step == kInstallBoot && !is_asked -> run_switch(BOOT) }
  :: atomic { may_step && step == kInstallBoot && is_asked && unit[BOOT] == exit_ok -> go(kReadCommitted) }
  :: atomic { may_step && step == kInstallBoot && is_asked && (overdue || (!runs(BOOT) && unit[BOOT] != exit_ok)) ->
       begin_rollback() }
  :: atomic { may_step && step == kReadCommitted ->
       if
#ifdef MUTATE_commit_what_does_not_run
       :: profile == NEW -> go_write(kWriteCommitted, committed)
#else
       :: profile == NEW && running == NEW -> go_write(kWriteCommitted, committed)
#endif
       :: else -> begin_rollback()
       :: fault(); begin_rollback()
       fi }
  :: atomic { may_step && step == kWriteCommitted -> write(false, is_written); end_with(succeeded) }
  :: atomic { may_step && step == kReadAfterBoot ->
       if
       :: on_state_after_boot()
       :: phase == committed && faults > 0 -> faults--; end_with(succeeded)
       :: phase != committed && faults > 0 -> faults--; begin_rollback()
       fi }
  :: atomic { may_step && step == kWriteRollingBack ->
       assert(told != succeeded);                                 /* never back after a commit */
       write(true, is_written);
       go(kStopForRollback) }
  :: atomic { may_step && step == kStopForRollback ->
       if
       :: stop_switches()
       :: fault()
       fi;
       continue_rollback() }
  :: atomic { may_step && step == kRestoreProfile && !is_asked -> op = restore_profile; is_asked = true }
  :: atomic { may_step && step == kRestoreProfile && is_asked && op == no_op ->
       if
       :: reached == confirmed -> go(kReactivate)                 /* its installation had not begun */
       :: else -> go(kRestoreBoot)
       fi }
  :: atomic { may_step && step == kRestoreBoot && !is_asked ->
       is_boot_unrestored = true; assert(roots || boot_default == DEFAULT); run_switch(UNBOOT) }
  :: atomic { may_step && step == kRestoreBoot && is_asked && unit[UNBOOT] != started && unit[UNBOOT] != took_effect ->
       is_boot_unrestored = (unit[UNBOOT] != exit_ok); go(kReactivate) }
  :: atomic { may_step && step == kReactivate && !is_asked -> assert(roots || running == OLD); run_switch(ROLLBACK) }
  :: atomic { may_step && step == kReactivate && is_asked && unit[ROLLBACK] != started && unit[ROLLBACK] != took_effect ->
       stop(ROLLBACK); go(kVerify) }
  :: atomic { may_step && step == kVerify -> verify() }
  :: atomic { may_step && step == kWriteEnded ->
       write(false, is_written);
       if
       :: is_written -> go(kDisarmDeadman)
#ifdef MUTATE_told_before_written
       :: !is_written -> finish()
#else
       /* A success that the journal does not know could still be undone by its next reader: not told. */
       :: !is_written && outcome == succeeded && j_phase != committed && j_phase != ended -> go(kWriteEnded)
       :: !is_written && (outcome != succeeded || j_phase == committed || j_phase == ended) -> finish()
#endif
       fi }
  :: atomic { may_step && step == kDisarmDeadman ->
       if
       :: driver == AGENT -> deadman = false
       :: else
       fi;
       go(kReleaseRoots) }
  :: atomic { may_step && step == kReleaseRoots -> roots = false; finish() }
  od
}

#include "faults.pml"
#include "executor.pml"
#include "controller.pml"
#include "properties.pml"
