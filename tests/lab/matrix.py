"""One cell of the fault matrix on one host, and all of them over a lab's hosts at once."""

import json
import os
import shutil
import tempfile
import threading
import time
import traceback

import labnet
from harness import HERE, Expr, deploy_flake, toplevel
from matrix_table import NOTHING, SUCCEEDED, ends_on, expected
from matrix_watch import FaultLog, boottime
from steps import status

AGENT = os.path.abspath(os.environ.get("FLURRY_FAULT_AGENT",
                                       os.path.join(HERE, "..", "..", "build", "bin", "flurry-agent-faults")))
STATE, STORE = "/var/lib/flurry", "/nix"
SMALL = {STATE: "96m", STORE: "256m"}   # file systems of their own, so that they can get full
# A soft reboot needs a systemd that knows them, and unmounts what nothing mounts again: so these have no small ones.
SOFT_HOSTS = ("h7", "h8")
RELEASES = ("a", "b")           # a cell deploys the one that its host doesn't run
THIRDS = ("c", "d")             # what somebody else switches to: the one that its host doesn't run
LOCK_SECONDS = 4
# Only the last one is ever waited for; the others are for a slow machine.
TIMEOUTS = {"activationTimeout": "30s", "confirmTimeout": "6s"}
HEALTH = {"minHealthy": "0s", "deadline": "20s", "checks": {
    "first": {"command": ["true"], "interval": "200ms"},
    "second": {"command": ["true"], "interval": "200ms"},
}}
UNCONFIRMED = ("prepared", "switching", "checking", "awaiting-confirmation")
PATIENCE = 90
LOCK = "/run/nixos/switch-to-configuration.lock"
# In every release: a point inside its activation, and a way to make it fail.
ACTIVATION = """
f=/run/flurry-fault
if mv $f/armed/switch-running $f/held/ 2>/dev/null; then
  echo '{"hit": "switch-running"}' >> /var/log/flurry-fault.log
  while [ -e $f/held/switch-running ]; do sleep 0.05; done
fi
if [ -e $f/refuse-%s ]; then return 1; fi
"""


def wait(what, predicate, timeout=PATIENCE):
    end = time.monotonic() + timeout
    while not predicate():
        assert time.monotonic() < end, f"{what}: not within {timeout} s"
        time.sleep(0.03)


def can_run(host, cell):
    wants_soft, wants_small = cell[1] == "soft-reboot", cell[1] in ("disk-full", "store-full")
    return not (wants_small if host in SOFT_HOSTS else wants_soft)


def flake_of(lab, release):
    systems = {host: {"release": release, "activation": Expr("''" + ACTIVATION % release + "''")} for host in lab.hosts}
    return deploy_flake(lab.dir, systems, health=HEALTH, flurry={"defaults": TIMEOUTS}, name=f"release-{release}")


class Cell:
    """One deployment with one fault. run() raises where the host isn't as the table says."""

    def __init__(self, fleet, host, point, fault):
        self.fleet, self.lab, self.name = fleet, fleet.lab, host
        self.point, self.fault = point, fault
        self.host, self.eye = fleet.lab.host(host), fleet.watch.eyes[host]
        self.reported, self.overdue, self.deployment = None, None, ""

    def run(self):
        old = self.lab.host_state(self.name)["current_system"]
        release = next(r for r in RELEASES if self.fleet.paths[self.name, r] != old)
        self.old, self.new = old, self.fleet.paths[self.name, release]
        self.third = next(path for path in (self.fleet.paths[self.name, r] for r in THIRDS) if path != old)
        self.began, self.log = boottime(), FaultLog(self.host)
        self.arm(release)
        with tempfile.TemporaryFile() as out:
            self.process = self.lab.start_flurry(
                "deploy", self.fleet.flakes[release], "--on", self.name, "--yes", "--output", "json",
                stdout=out, stderr=out)
            try:
                self.strike()
                self.process.wait(timeout=PATIENCE)
            finally:
                self.process.kill()
                self.process.wait(timeout=10)
                self.read_events(out)
        self.verify()

    def read_events(self, out):
        out.seek(0)
        self.output = out.read().decode(errors="replace")
        for line in self.output.splitlines():
            if not line.startswith("{"):
                continue
            event = json.loads(line)
            self.deployment = event.get("deployment") or self.deployment
            self.reported = event.get("host_ended", {}).get("outcome", self.reported)

    # --- points ----------------------------------------------------------------------------------------------

    def arm(self, release):
        base = self.eye.path("run/flurry-fault")
        shutil.rmtree(base, ignore_errors=True)
        os.makedirs(base + "/held")
        os.makedirs(base + "/armed")
        by_deadman = self.point.startswith("deadman-rollback")
        for point in (self.point, *(["check-2"] if by_deadman else [])):
            open(f"{base}/armed/{point}", "w").close()
        if self.point in ("rollback-started", "rollback-done"):
            open(f"{base}/refuse-{release}", "w").close()

    def await_hit(self, point):
        def hit():
            assert self.process.poll() is None or self.log.was_hit(point), f"flurry ended before {point}"
            return self.log.was_hit(point)
        wait(f"the point {point}", hit)

    def release(self, point):
        path = self.eye.path(f"run/flurry-fault/held/{point}")
        if path and os.path.exists(path):
            os.unlink(path)

    def let_the_deadman_act(self):
        """The agent is stopped while it waits for a confirmation that can't come."""
        self.await_hit("check-2")
        labnet.set_link(self.lab.names, self.name, up=False)
        self.release("check-2")
        wait("awaiting-confirmation", lambda: self.log.reached("awaiting-confirmation"))
        self.lab.enter(self.name, "systemctl stop flurry-agent.service")
        self.await_hit(self.point)
        if self.fault != "network-cut":
            labnet.set_link(self.lab.names, self.name, up=True)

    # --- faults ----------------------------------------------------------------------------------------------

    def strike(self):
        if self.point.startswith("deadman-rollback"):
            self.let_the_deadman_act()
        else:
            self.await_hit(self.point)
        getattr(self, self.fault.replace("-", "_"))()

    def agent_killed(self):
        by_deadman = self.point.startswith("deadman-rollback")
        unit = "'flurry-deadman-*.service'" if by_deadman else "flurry-agent.service"
        self.lab.enter(self.name, f"systemctl kill -s KILL --kill-whom=main {unit}")
        self.release(self.point)

    def controller_killed(self):
        self.process.kill()
        self.release(self.point)
        self.await_end()

    def network_cut(self):
        labnet.set_link(self.lab.names, self.name, up=False)
        self.release(self.point)
        self.await_end()
        labnet.set_link(self.lab.names, self.name, up=True)

    def sshd_frozen(self):
        self.host.freeze("sshd")
        self.release(self.point)
        self.await_end()
        self.host.thaw("sshd")

    def disk_full(self, path=STATE):
        self.host.fill(path)
        self.release(self.point)
        self.await_end()
        self.host.unfill(path)

    def store_full(self):
        self.disk_full(STORE)

    def power_cut(self):
        self.host.power_cut()

    def reboot(self):
        before = self.host.boots()
        self.lab.enter(self.name, "systemctl reboot", check=False)

        def is_stopping():
            if self.host.boots() > before or not self.eye.path("run"):
                return True
            state = self.lab.enter(self.name, "systemctl show -P ActiveState flurry-agent.service", check=False)
            return state.strip() != "active"
        # Only then: what stands at the point must not get away from it before the host goes down.
        wait("the agent is being stopped", is_stopping)
        self.release(self.point)
        wait("the host starts again", lambda: self.host.boots() > before)

    def emergency(self):
        self.change_mode("systemctl start --no-block emergency.target")

    def isolate(self):
        self.change_mode("printf '[Unit]\\nAllowIsolate=yes\\n' > /run/systemd/system/bare.target; "
                         "systemctl daemon-reload; systemctl isolate --no-block bare.target")

    def change_mode(self, command):
        self.lab.enter(self.name, command)
        self.wait_until_the_agent_stops()
        self.release(self.point)
        self.await_end()

    def bus_lost(self):
        # Its socket too, which would start it again.
        self.lab.enter(self.name, "systemctl stop dbus.socket dbus.service systemd-logind.service")
        self.release(self.point)
        self.await_end()
        # Nobody else starts it again, and the next deployment's switch needs it.
        self.lab.enter(self.name, "systemctl start dbus.socket dbus.service systemd-logind.service")

    def soft_reboot(self):
        before = self.life_of_dbus()
        self.lab.enter(self.name, "systemctl soft-reboot", check=False)
        self.wait_until_the_agent_stops()
        self.release(self.point)
        wait("a soft reboot", lambda: self.life_of_dbus() not in (None, before))

    def life_of_dbus(self):
        """Which one this is, None between two of them; read from outside, since who enters in a soft reboot is stopped."""
        try:
            return os.readlink(self.eye.path("run/systemd/units/invocation:dbus.service") or "")
        except OSError:
            return None

    def other_switch(self):
        self.switch_by_hand(self.third)

    def same_switch(self):
        self.switch_by_hand(self.new)

    def switch_by_hand(self, system):
        # That of a release which is made to fail does, after it has set all that can be set.
        self.lab.enter(self.name, f"nix-env -p /nix/var/nix/profiles/system --set {system}; "
                       f"{system}/bin/switch-to-configuration switch", check=False)
        self.release(self.point)
        self.await_end()

    def lock_taken(self):
        # A host that has booted and not been switched since has no folder for it.
        self.lab.enter(self.name, f"mkdir -p {os.path.dirname(LOCK)}; systemd-run -q --collect flock {LOCK} sh -c 'touch /run/lock-taken; sleep {LOCK_SECONDS}'; "
                       "until [ -e /run/lock-taken ]; do sleep 0.05; done; rm /run/lock-taken")
        self.release(self.point)
        self.await_end()

    def wait_until_the_agent_stops(self):
        """Only then: what stands at the point must not get away from it before."""
        def is_stopping():
            state = self.lab.enter(self.name, "timeout 5 systemctl show -P ActiveState flurry-agent.service", check=False)
            return state.strip() != "active"
        wait("the agent is being stopped", is_stopping)

    def await_end(self):
        wait("the deployment's end", self.log.is_over)

    # --- what is true ----------------------------------------------------------------------------------------

    def verify(self):
        outcome, why = expected(self.point, self.fault)
        told = self.ask_status()
        state = self.lab.host_state(self.name)
        here = {self.old: "old", self.new: "new", self.third: "third"}
        ends = {what: here.get(state[what], state[what]) for what in ("current_system", "boot_default", "profile")}
        wanted = ends_on(self.point, self.fault)
        assert ends == dict.fromkeys(ends, wanted), f"must be {wanted}: {why}"

        last = told.get("last", {})
        mine = last.get("outcome") if last.get("deployment") == self.deployment else NOTHING
        assert mine == outcome, f"status tells {mine}, true is {outcome}: {why}; it says: {last.get('reason')}"
        assert not told.get("active"), told["active"]
        truth = "failed-unchanged" if outcome == NOTHING else outcome
        # Not even "unknown" will do: the host could be reached again long before flurry gives up.
        assert self.fault == "controller-killed" or self.reported == truth, \
            f"flurry reported {self.reported}, true is {truth}"
        self.verify_nothing_is_left()
        self.verify_history()

    def ask_status(self):
        """As a user would: again, while the host can't be reached."""
        answers = []

        def answered():
            answers.append(status(self.lab, self.fleet.flakes["a"], self.name))
            return not answers[-1].get("error")
        wait("flurry status", answered, 30)
        return answers[-1]

    def verify_nothing_is_left(self):
        if not self.log.reached("prepared"):
            # What was copied and never begun stays for a day, so that the next try finds it there.
            self.lab.enter(self.name, f"rm -f /nix/var/nix/gcroots/flurry/{self.deployment}-*-incoming")

        def left():
            units = self.lab.enter(self.name, "systemctl list-units --all --no-legend --plain 'flurry-*' | sed 's/ .*//'")
            roots = self.lab.enter(self.name, "ls /nix/var/nix/gcroots/flurry 2> /dev/null || true")
            return [x for x in (units + roots).split() if x != "flurry-agent.service"]
        end = time.monotonic() + 15
        while found := left():
            assert time.monotonic() < end, f"left behind: {found}"
            time.sleep(0.3)

    def verify_history(self):
        """Neither profile nor boot default named the new system before its confirmation was durable."""
        if self.fault == "same-switch":
            return          # somebody else has made it so
        confirmed = self.log.first("confirmed")
        seen = [(at, systems) for at, systems in list(self.fleet.watch.changes[self.name]) if at >= self.began]
        for at, (_, default, profile) in seen:
            if self.new in (default, profile):
                assert confirmed is not None and at >= confirmed, "committed before the confirmation was durable"
        if confirmed is None:
            self.overdue = self.time_past_deadline(seen)

    def time_past_deadline(self, seen):
        """Seconds that the unconfirmed system ran after its last recorded deadline; below 0: it went before."""
        runs = [index for index, (_, systems) in enumerate(seen) if systems[0] == self.new]
        if not runs or runs[-1] + 1 >= len(seen):
            return None
        left_at = seen[runs[-1] + 1][0]
        deadlines = [w["deadline"] / 1000 for w in self.log.writes() if w["phase"] in UNCONFIRMED]
        return left_at - deadlines[-1] if deadlines else None


class Fleet:
    """A lab whose hosts work through cells, each host one after another: those that it can, the rarest of them first."""

    def __init__(self, lab, watch):
        self.lab, self.watch = lab, watch
        self.flakes = {release: flake_of(lab, release) for release in (*RELEASES, *THIRDS)}
        self.paths = {(host, release): lab.build(toplevel(self.flakes[release], host))
                      for release in self.flakes for host in lab.hosts}
        self.results = {}       # {(point, fault): (cell, error or None, seconds)}

    def prepare(self, hosts, release="a", goal="switch"):
        code, out, err = self.lab.flurry("deploy", self.flakes[release], "--on", ",".join(hosts), "--yes", "--goal", goal)
        assert code == 0, out + err

    def prepare_thirds(self, hosts):
        for third in THIRDS:
            self.prepare(hosts, third, "push")
        for host in hosts:
            self.lab.enter(host, "rm -f /nix/var/nix/gcroots/flurry/*-incoming")

    def run(self, cells):
        todo, lock = list(cells), threading.Lock()

        def take(host):
            """The next cell that this host can run; None where there is none."""
            with lock:
                found = next((cell for cell in todo if can_run(host, cell)), None)
                if found:
                    todo.remove(found)
                return found

        threads = [threading.Thread(target=self.work, args=(host, take)) for host in self.lab.hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()       # each cell ends by deadlines of its own

    def work(self, host, take):
        while cell := take(host):
            point, fault = cell
            cell, started, error = Cell(self, host, point, fault), time.monotonic(), None
            try:
                cell.run()
            except Exception as caught:         # of whatever kind: it is this cell's, and the others go on
                error = describe(cell, caught)
            self.results[point, fault] = (cell, error, time.monotonic() - started)
            if error and not self.mend(host):
                return

    def mend(self, host):
        """A host that a cell left in a bad state, as new; False where it can't be had back."""
        try:
            machine = self.lab.host(host)
            labnet.set_link(self.lab.names, host, up=True)
            for path in SMALL:
                machine.unfill(path)
            machine.power_cut()
            self.lab.wait(host)
            self.lab.enter(host, "rm -f /nix/var/nix/gcroots/flurry/*")
            for release in RELEASES:
                self.prepare([host], release)
            return True
        except Exception:
            traceback.print_exc()
            return False


def describe(cell, error):
    log = getattr(cell, "log", None)
    return "\n".join([f"{cell.point}-{cell.fault} on {cell.name}: {type(error).__name__}: {error}",
                      *traceback.format_tb(error.__traceback__)[-2:],
                      *(json.dumps(line) for line in (log.lines() if log else [])),
                      getattr(cell, "output", "")[-3000:]])
