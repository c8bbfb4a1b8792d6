/* agent/executor*.cc and agent/deadman.cc: who may drive, and takes up what nobody finished. */

inline take_lock(who) {
  assert(driver == NOBODY && !is_other_holding);                  /* no two drivers at once */
  lock = who; driver = who
}

/* Executor::admit(). A repeated Begin is answered as the first was. */
inline admit() {
  if
  :: driver == AGENT || untold != undecided || j_phase != none
#ifndef MUTATE_late_begin
  :: driver != AGENT && untold == undecided && j_phase == none && (lock != NOBODY || given_up) -> is_refused = true
  :: driver != AGENT && untold == undecided && j_phase == none && lock == NOBODY && !given_up ->
#else
  :: driver != AGENT && untold == undecided && j_phase == none && lock != NOBODY -> is_refused = true
  :: driver != AGENT && untold == undecided && j_phase == none && lock == NOBODY ->
#endif
     take_lock(AGENT); go(kReadBefore)
  fi
}

/* Executor::follow(), at the start of an agent and whenever its own last write was refused. */
active proctype Agent() {
end:
  do
  :: atomic { agent == up && driver != AGENT && is_unfinished && lock == NOBODY ->
       take_lock(AGENT); untold = undecided; recover() }
#ifndef MUTATE_leaked_roots
  /* forget_ended_roots(), at the next start at the latest. */
  :: atomic { agent == up && j_phase == ended && driver == NOBODY && roots -> roots = false }
#endif
  /* A Begin that its controller has given up, delivered after all. */
  :: atomic { agent == up && begin_in_flight -> begin_in_flight = false; admit() }
  od
}

active proctype Deadman() {
end:
  do
#ifdef MUTATE_no_lock
  :: atomic { deadman && driver != DEADMAN && is_unfinished && overdue -> take_lock(DEADMAN); recover() }
#else
  :: atomic { deadman && is_unfinished && overdue && lock == NOBODY -> take_lock(DEADMAN); recover() }
#endif
  /* kill_holder(): overdue, and no write since. An agent that is not frozen acts within the grace. */
  :: atomic { deadman && is_unfinished && overdue && lock == AGENT && agent == frozen ->
       lose_agent(); agent = absent; is_restarting = true }
  :: atomic { deadman && driver != DEADMAN && j_phase == ended -> deadman = false }
  od
}
