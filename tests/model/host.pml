/* The host: what survives a power cut, what does not, and the things that may happen to it by themselves. */

mtype:phase = { none, prepared, switching, checking, awaiting_confirmation, confirmed, profile_set, committed,
                rolling_back, ended };
mtype:outcome = { undecided, succeeded, rolled_back, rollback_failed, failed_unchanged, unknown };
mtype:sys = { OLD, NEW, PENDING };         /* PENDING: was set as boot default by somebody and never booted */
mtype:life = { absent, up, frozen };
mtype:who = { NOBODY, AGENT, DEADMAN, OTHER };  /* OTHER: the deployment of a second controller */
mtype:unit = { gone, started, took_effect, hangs, exit_ok, exit_bad, exit_untouched };
mtype:op = { no_op, set_profile, restore_profile };

#ifndef FAULTS
#define FAULTS 2
#endif

#ifdef WITH_PENDING
#define DEFAULT PENDING
#else
#define DEFAULT OLD
#endif

/* On disk. */
mtype:sys profile = DEFAULT;
mtype:sys boot_default = DEFAULT;
mtype:phase j_phase = none;                /* the journal */
mtype:outcome j_outcome = undecided;
bool j_stopped = false;                    /* holder_stopped */
bool j_other_boot = false;                 /* before.boot_id is not the running kernel's */
bool roots = false;                        /* GC roots on all that a rollback needs */

/* In memory. */
mtype:sys running = OLD;
mtype:life agent = absent;
mtype:who lock = NOBODY;                   /* the executor lock */
mtype:who driver = NOBODY;                 /* whose Activation is live: see activation.pml */
bool deadman = false;                      /* its unit is there */
bool overdue = false;                      /* the journal's deadline has passed */
bool is_contacted = false;                 /* somebody keeps looking: flurry status */
mtype:unit unit[4] = gone;                 /* transient units of switch-to-configuration */
#ifdef MUTATE_orphans
bool is_orphan_setting = false;
#endif
mtype:op op = no_op;                       /* nix-env at work */
#define SWITCH 0                           /* NEW test */
#define BOOT 1                             /* NEW boot */
#define UNBOOT 2                           /* DEFAULT boot */
#define ROLLBACK 3                         /* OLD test */

#define is_unfinished (j_phase != none && j_phase != ended)
#define runs(u) (unit[u] == started || unit[u] == took_effect || unit[u] == hangs)
#define has_exited(u) (unit[u] == exit_ok || unit[u] == exit_bad || unit[u] == exit_untouched)

/* What the properties remember. */
byte faults = FAULTS;                      /* how many more may happen, of all kinds together */
bool word = false;                         /* the controller's own confirmation reached the agent in time */
mtype:outcome told = undecided;            /* what the controller reported */
bool cuts_network = false;                 /* nobody can dial a host that runs NEW */
bool was_killed_unconfirmed = false;       /* the agent, on a system that nobody had confirmed */
bool is_other_holding = false;
bool is_refused = false;                   /* our Begin, since another deployment holds the host */

/* The executor of the agent's present life. */
mtype:outcome untold = undecided;          /* the outcome whose last write was refused */
bool given_up = false;                     /* it said that it does not know the deployment */
bool begin_in_flight = false;              /* sent over a connection that its controller has left */
bool is_connected = false;                 /* the controller, to this life of the agent */
bool is_restarting = false;                /* systemd brings it back */

inline fault() { faults > 0; faults-- }

/* After every change of the host: what holds at every moment. */
inline look() {
  assert(boot_default != NEW || word);                            /* the boot default is never unconfirmed */
  assert(told != succeeded || (running == NEW && profile == NEW && boot_default == NEW));
  assert((told != rolled_back && told != failed_unchanged) || (running != NEW && boot_default != NEW))
}

/* An outcome that is told or written down is true now, and nothing is at work that could still change it. */
inline expect_true(o) {
  assert(o != succeeded || (running == NEW && profile == NEW && boot_default == NEW && word && !cuts_network));
  assert(o != rolled_back || ((running == OLD || running == DEFAULT) && profile == DEFAULT && boot_default == DEFAULT));
  assert(o != failed_unchanged || (running != NEW && profile == DEFAULT && boot_default == DEFAULT));
  assert((o != rolled_back && o != failed_unchanged) || (!runs(SWITCH) && !runs(BOOT) && op != set_profile));
  assert(o != rollback_failed || faults < FAULTS)                 /* a sound host always finds back */
}

inline let_profile_land() {
  if
  :: op == set_profile -> profile = NEW
  :: op == restore_profile -> profile = DEFAULT
  :: else
  fi;
  op = no_op;
  look()
}

/* nix-env of a killed process is killed with it (KillMode=mixed), before or after it was done. */
inline lose_profile_tool() {
#ifdef MUTATE_orphans
  is_orphan_setting = is_orphan_setting || op == set_profile;
#endif
  if
  :: op = no_op
  :: let_profile_land()
  fi
}

inline take_effect(u) {
  if
  :: u == SWITCH -> running = NEW
  :: u == BOOT -> boot_default = NEW
  :: u == UNBOOT -> boot_default = DEFAULT
  :: u == ROLLBACK -> running = OLD
  fi;
  unit[u] = took_effect;
  look()
}

