/* When nobody acts any more. No cycle exists (see run), so every story comes to this. */

active proctype Properties() {
  /* Without anybody who looks at the host. */
  atomic {
    timeout ->
    assert(running != NEW || word || j_outcome == rollback_failed);  /* not for ever on an unconfirmed system */
    is_contacted = true
  }
  /* After somebody has looked. A frozen agent that no deadman watches is for that somebody. */
  atomic {
    timeout ->
    if
    :: agent == frozen && !deadman
    :: else ->
       assert(!is_unfinished);
       assert(driver == NOBODY && lock == NOBODY && !deadman && op == no_op);
       assert(!roots);
       assert(j_outcome == rollback_failed || profile == boot_default);
       assert(j_outcome == rollback_failed || running == boot_default || (running == OLD && boot_default == DEFAULT));
       assert(j_outcome == rollback_failed || (!runs(SWITCH) && !runs(BOOT)))
    fi
  }
}
