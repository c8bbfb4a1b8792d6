# Ways in which a release can be bad. Each is a set for mkSystem's `with'`. Some need something that ran before: what the
# release before is given is their `before`, as in with' = faults.mountBusy.before.
let
  true' = "/bin/sleep 0";
  sleeper = "exec sleep 1000000";
  broken = { exec = "echo 'broken: giving up' >&2; exit 1"; };
in
{
  # The activation script fails: switch-to-configuration goes on and exits 2.
  activationFails = { activation = "echo 'activation: something went wrong' >&2; return 1"; };

  # A unit doesn't start: exit 4.
  unitFails = { units.broken = broken; };

  # Both: the 4 overwrites the 2.
  activationFailsWithFailedUnit = { activation = "echo 'activation: something went wrong' >&2; return 1"; units.broken = broken; };

  # A unit that is in auto-restart when the switch looks, the other shape of exit 4.
  unitFlaps = { units.flapping = { exec = "exit 3"; lines = [ "Restart=always" "RestartSec=2s" "StartLimitIntervalSec=0" ]; }; };

  # A unit that ran is changed and can't be reloaded: "Failed to reload", exit 4, and it runs on.
  reloadFails = {
    before.units.unreloadable = { exec = sleeper; lines = [ "ExecReload=/bin/false" ]; unitLines = [ "X-Reload-Triggers=before" ]; };
    units.unreloadable = { exec = sleeper; lines = [ "ExecReload=/bin/false" ]; unitLines = [ "X-Reload-Triggers=after" ]; };
  };

  # The release has no mount any more that is in use: "Failed to stop", exit 4, no failed unit, and it stays mounted.
  mountBusy =
    let holder = { units.holder = { exec = "cd /run/busy && exec sleep 1000000"; unitLines = [ "After=run-busy.mount" "Wants=run-busy.mount" ]; }; };
    in holder // {
      before.units = holder.units // {
        "run-busy.mount" = { text = "[Unit]\nDescription=In use\n[Mount]\nWhat=tmpfs\nWhere=/run/busy\nType=tmpfs\n"; };
      };
    };

  # A unit that ran now requires one that fails: "Failed to start" it, for its dependency, and it is down.
  depFails = {
    before.units.app = { exec = sleeper; };
    units.app = { exec = sleeper; unitLines = [ "Requires=broken.service" "After=broken.service" ]; };
    units.broken = broken // { type = "oneshot"; };
  };

  # Stopping a unit of the release before takes the system bus away, for a moment: exit 1 in the middle, lists stay.
  stopsBus = {
    before.units.bus-user = { exec = sleeper; lines = [ "ExecStop=/bin/systemctl restart dbus.service" ]; };
    units.bus-user = { exec = sleeper; lines = [ "ExecStop=${true'}" ]; };
  };

  # A unit of the release before takes so long to stop; what is ordered after it can only be started once that has ended.
  slowStop = seconds:
    let keep = text: { exec = sleeper; description = "keep"; lines = [ "Environment=IT=${text}" ]; unitLines = [ "After=lingering.service" ]; };
    in {
      before.units = {
        lingering = { exec = sleeper; lines = [ "ExecStop=/bin/sleep ${toString seconds}" "TimeoutStopSec=300s" ]; };
        keep = keep "before";
      };
      units = {
        lingering = { exec = sleeper; lines = [ "ExecStop=${true'}" ]; };
        keep = keep "after";
      };
    };

  # A unit that nobody wants, was started by hand and is to be reloaded goes down with what it requires, and isn't loaded
  # any more when its turn comes: exit 1 in the middle, and its name stays on the list, at which every later switch ends.
  reloadOfWhatIsGone =
    let units = text: {
          dep = { exec = sleeper; lines = [ "Environment=IT=${text}" ]; };
          by-hand = {
            exec = sleeper;
            wanted = false;
            lines = [ "Environment=IT=${text}" "ExecReload=${true'}" "X-ReloadIfChanged=true" ];
            unitLines = [ "Requires=dep.service" "After=dep.service" ];
          };
        };
    in { before.units = units "before"; units = units "after"; };

  # The activation takes logind away for good: exit 11 after units were stopped and before they are started again, and on
  # the way back too.
  masksLogind = {
    before.units.app = { exec = sleeper; lines = [ "Environment=IT=before" ]; };
    units.app = { exec = sleeper; lines = [ "Environment=IT=after" ]; };
    activation = "systemctl mask --runtime --now systemd-logind.service 2> /dev/null";
  };

  # A mount that local-fs.target requires fails: the host drops into emergency mode.
  emergency = { fstab = "tmpfs /run/lost tmpfs size=nonsense 0 0\n"; };

  # The activation never ends.
  activationHangs = { activation = "while :; do sleep 60; done"; };
  hangsInActivation = { activation = "echo 'activation: waits for what never comes'; while :; do sleep 60; done"; };

  # A new unit's start never ends.
  hangsInStart = { units.endless = { type = "oneshot"; exec = sleeper; lines = [ "TimeoutStartSec=infinity" ]; }; };

  # The host can't be reached any more.
  cutsNetwork = { activation = "ip link set host0 down"; };

  # The network stays, ssh is gone, and the connections with it.
  stopsSshd = { activation = "systemctl stop ssh.socket ssh.service; pkill -x sshd || true"; };

  # The agent dies while it drives the switch.
  killsUnit = unit: { activation = "systemctl kill -s KILL ${unit} || true"; };

  slowActivation = seconds: { activation = "sleep ${toString seconds}"; };

  # A user's activation fails: the warning names the user; exit 4 where its unit can't even be started, else 0.
  userActivationFails = { userActivation = "exit 1"; };

  # A user's unit doesn't start again: "user activation for NAME failed", exit 4.
  userUnitFails = {
    before.userUnits.mine = { exec = sleeper; };
    userUnits.mine = { type = "oneshot"; exec = "exit 1"; };
  };

  # A system from before there was a sysinit-reactivation.target: exit 4, and nothing is wrong.
  noSysinitReactivation = { sysinitReactivation = false; };

  # Exit 100: only a reboot can switch to this one.
  initInterfaceChanges = { initInterface = "2"; };

  # The pre-switch check refuses: exit 1, nothing was touched. The second refuses only the switch itself, not `check`.
  checkFails = { preSwitchCheck = "echo 'check: not on this host' >&2; exit 1"; };
  checkFailsLate = { preSwitchCheck = "[ \"$2\" = check ] || { echo 'check: not now' >&2; exit 1; }"; };
  checkHangs = { preSwitchCheck = "while :; do sleep 60; done"; };

  # Megabytes on both streams.
  noisy = {
    activation = "i=0; while [ $i -lt 20000 ]; do echo \"out $i ........................................\"; echo \"err $i ......\" >&2; i=$((i+1)); done";
  };
}
