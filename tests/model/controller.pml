/* core/host_deployment.cc from Begin on, for one host, and what the agent answers (agent/executor_requests.cc). */

/* Executor::look_up(). */
#define is_known (driver == AGENT || untold != undecided || j_phase != none)
#define is_shown_untold (driver != AGENT && untold != undecided)
#define is_over (is_shown_untold || j_phase == ended)

#define can_dial (!cuts_network || running != NEW)

inline tell(o) { told = o; expect_true(told) }

/* HostDeployment::on_view(). */
inline view() {
  if
  :: !is_known ->
     given_up = true;
     if
     :: seen == none -> tell(failed_unchanged)
     :: else -> told = unknown
     fi
  :: is_shown_untold -> tell(untold)
  :: is_known && !is_shown_untold && j_phase == ended -> tell(j_outcome)
  :: else -> seen = (j_phase == none -> prepared : j_phase)
  fi
}

/* Executor::take(Confirm): in time, or nothing but a view. */
#define can_confirm (driver == AGENT && agent == up && step == kAwait && !overdue)

active proctype Controller() {
  mtype:phase seen = none;
  atomic {
    if
    :: cuts_network = true
    :: cuts_network = false
    fi;
    agent = up; is_connected = true                               /* preflight */
  }
  if
  :: atomic { is_connected && agent == up ->
       admit();
       if
       :: is_refused -> tell(failed_unchanged)
       :: !is_refused
       :: !is_refused && faults > 0 -> faults--; is_connected = false             /* the answer was lost */
       fi }
  :: atomic { is_connected && faults > 0 -> faults--; is_connected = false; begin_in_flight = true }
  :: atomic { !is_connected || agent == frozen -> is_connected = false }
  fi;
  do
  :: told != undecided -> break
  /* Observe, over the connection that is there: answered when there is news. */
  :: atomic { told == undecided && is_connected && agent == up &&
              (seen == none || !is_known || is_over || (j_phase != none && j_phase != seen)) -> view() }
  :: atomic { told == undecided && is_connected && agent == frozen -> is_connected = false }
  /* Reattach, over a new one, which starts an agent where there is none. */
  :: atomic { told == undecided && !is_connected && can_dial && agent != frozen ->
       agent = up; is_restarting = false; is_connected = true; view() }
  /* Confirm, over a new one. */
#ifdef MUTATE_old_connection
  :: atomic { told == undecided && seen == awaiting_confirmation && can_confirm && is_connected ->
#else
  :: atomic { told == undecided && seen == awaiting_confirmation && can_confirm && can_dial ->
#endif
       assert(!was_killed_unconfirmed);                            /* a kill is a sign that it is not well */
       word = true; go_write(kWriteConfirmed, confirmed);
       if
       :: is_connected = true
       :: fault(); is_connected = false
       fi }
  /* It is killed, detached by its user, or finds the host out of reach for too long. */
  :: atomic { told == undecided -> told = unknown }
  od
}

/* Another one, with a deployment of its own: it changes nothing here but to hold the host for a while. */
active proctype OtherController() {
end:
  if
  :: atomic { agent == up && driver != AGENT && !is_unfinished && lock == NOBODY ->
       assert(driver == NOBODY && !runs(SWITCH) && !runs(BOOT) && op == no_op);
       lock = OTHER; is_other_holding = true };
     atomic {
       if
       :: is_other_holding -> is_other_holding = false; lock = NOBODY
       :: !is_other_holding                                        /* its agent was killed */
       fi
     }
#ifdef MUTATE_any_nonce
  :: atomic { can_confirm -> go_write(kWriteConfirmed, confirmed) }
#endif
  :: true
  fi
}
