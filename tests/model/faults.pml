/* The world around: units, systemd, the clock, and every fault. */

/* systemd and nix-env: they go on whatever happens to who asked them. */
active proctype Units() {
  byte u;
end:
  do
  :: atomic { op != no_op -> let_profile_land() }
#ifdef MUTATE_orphans
  :: atomic { is_orphan_setting -> is_orphan_setting = false; profile = NEW; look() }
#endif
  :: atomic { op != no_op && faults > 0 -> faults--; op = no_op }                /* it failed: seen by who reads the profile */
  :: atomic {
       (unit[0] == started || unit[1] == started || unit[2] == started || unit[3] == started
        || unit[0] == took_effect || unit[1] == took_effect || unit[2] == took_effect || unit[3] == took_effect) ->
       if
       :: unit[0] == started || unit[0] == took_effect -> u = 0
       :: unit[1] == started || unit[1] == took_effect -> u = 1
       :: unit[2] == started || unit[2] == took_effect -> u = 2
       :: unit[3] == started || unit[3] == took_effect -> u = 3
       fi;
       if
       :: unit[u] == started -> take_effect(u)
       :: unit[u] == took_effect -> unit[u] = exit_ok
       /* A release may do all of this; the recorded system and the boot loader count as faults. */
       :: u == SWITCH -> unit[u] = exit_bad
       :: u == SWITCH -> unit[u] = hangs
       :: u == SWITCH && unit[u] == started -> unit[u] = exit_untouched
       :: u != SWITCH && faults > 0 -> faults--; unit[u] = exit_bad
       :: u != SWITCH && faults > 0 -> faults--; unit[u] = hangs
       fi;
       u = 0
     }
  od
}

inline end_driver() { driver = NOBODY; lock = NOBODY; forget() }

inline lose_agent() {
  if
  :: driver == AGENT -> lose_profile_tool(); end_driver()
  :: else
  fi;
  is_other_holding = false;
  if
  :: lock == OTHER -> lock = NOBODY
  :: else
  fi;
  untold = undecided; given_up = false; begin_in_flight = false; is_connected = false
}

inline lose_power() {
  lose_agent();
  if
  :: driver == DEADMAN -> end_driver()
  :: else
  fi;
  if
  :: op = no_op
  :: let_profile_land()
  fi;
  agent = absent; deadman = false; overdue = false; is_restarting = false;
  unit[0] = gone; unit[1] = gone; unit[2] = gone; unit[3] = gone;
  running = boot_default;
  if
  :: j_phase != none -> j_other_boot = true
  :: else
  fi;
  look()
}

/* systemd brings back an agent that was killed; one that ended in good order waits for the next contact. */
active proctype Systemd() {
end:
  do
  :: atomic { is_restarting -> is_restarting = false; agent = up }
  :: atomic { is_contacted && agent == absent -> is_restarting = false; agent = up }
  od
}

active proctype Faults() {
  do
  :: atomic { agent != absent && faults > 0 -> faults--;
              was_killed_unconfirmed = was_killed_unconfirmed ||
                (driver == AGENT && !j_stopped && !j_other_boot && (j_phase == checking || j_phase == awaiting_confirmation));
              lose_agent(); agent = absent; is_restarting = true }      /* SIGKILL */
  :: atomic { agent == up && !(driver == AGENT && op != no_op) && faults > 0 -> faults--;              /* SIGTERM: leave() */
              if
#ifdef MUTATE_stop_hides_rollback
              :: driver == AGENT && is_unfinished -> j_stopped = true
#else
              :: driver == AGENT && is_unfinished && phase == j_phase -> j_stopped = true
#endif
              :: else
              fi;
              lose_agent(); agent = absent }
  :: atomic { agent == up && faults > 0 -> faults--; agent = frozen }
  :: atomic { agent == frozen -> agent = up }
  :: atomic { driver == DEADMAN && faults > 0 -> faults--; lose_profile_tool(); end_driver() }  /* SIGKILL: it comes back */
  :: atomic { fault(); lose_power() }
  :: atomic { is_connected && faults > 0 -> faults--; is_connected = false }
  :: break
  od
}

/* Time passes. A live driver gets through the phases without a wait before their deadline: a slow one that
   the deadman kills is the SIGKILL above. */
active proctype Clock() {
end:
  do
  :: atomic { is_unfinished && !overdue &&
              (driver == NOBODY || (driver == AGENT && agent == frozen)
               || (j_phase != prepared && j_phase != rolling_back)) -> overdue = true }
  od
}
