# Ways in which a release can be bad. Each is a set for mkSystem's `with'`.
{
  # The activation script fails: switch-to-configuration goes on and exits 2.
  activationFails = { activation = "echo 'activation: something went wrong' >&2; return 1"; };

  # A unit doesn't start: exit 4.
  unitFails = { units.broken = { exec = "echo 'broken: giving up' >&2; exit 1"; }; };

  # A unit that is in auto-restart when the switch looks, the other shape of exit 4.
  unitFlaps = { units.flapping = { exec = "exit 3"; lines = [ "Restart=always" "RestartSec=2s" "StartLimitIntervalSec=0" ]; }; };

  # The activation never ends.
  activationHangs = { activation = "while :; do sleep 60; done"; };

  # The host can't be reached any more.
  cutsNetwork = { activation = "ip link set host0 down"; };

  # The network stays, ssh is gone, and the connections with it.
  stopsSshd = { activation = "systemctl stop ssh.socket ssh.service; pkill -x sshd || true"; };

  # The agent dies while it drives the switch.
  killsUnit = unit: { activation = "systemctl kill -s KILL ${unit} || true"; };

  slowActivation = seconds: { activation = "sleep ${toString seconds}"; };

  # Exit 100: only a reboot can switch to this one.
  initInterfaceChanges = { initInterface = "2"; };

  # The pre-switch check refuses: exit 1, nothing was touched.
  checkFails = { preSwitchCheck = "echo 'check: not on this host' >&2; exit 1"; };

  # Megabytes on both streams.
  noisy = {
    activation = "i=0; while [ $i -lt 20000 ]; do echo \"out $i ........................................\"; echo \"err $i ......\" >&2; i=$((i+1)); done";
  };
}
