"""Looks at hosts from outside, also when they are cut off: their systems over time, and the fault agent's log."""

import json
import os
import threading
import time

INTERVAL = 0.05
SYSTEM_LINK = "nix/var/nix/profiles/system"


def boottime():
    """The clock of the agents' deadlines: all hosts of a lab share the machine's kernel."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Eye:
    """One host's files while it runs, whatever has become of its network."""

    def __init__(self, host):
        self.host, self._pid = host, None

    def path(self, name):
        """A path inside, for whoever is outside; None while the host is down."""
        if self._pid is None or not os.path.exists(f"/proc/{self._pid}/root/run/systemd"):
            self._pid = self.host.init_pid()
        return self._pid and f"/proc/{self._pid}/root/{name}"

    def _link(self, name):
        path = self.path(name)
        try:
            return path and os.readlink(path)
        except OSError:
            return None

    def systems(self):
        """(running, boot default, profile); None for what can't be seen."""
        generation = self._link(SYSTEM_LINK)
        profile = generation and self._link(os.path.join(os.path.dirname(SYSTEM_LINK), generation))
        try:
            with open(self.path("boot/minios/default") or "/nowhere") as text:
                default = text.read().strip()
        except OSError:
            default = None
        return self._link("run/current-system"), default, profile


class Watch(threading.Thread):
    """What each host ran at which time. `changes` holds (time, (running, boot default, profile))."""

    def __init__(self, hosts):
        super().__init__(daemon=True)
        self.eyes = {host.name: Eye(host) for host in hosts}
        self.changes = {name: [] for name in self.eyes}
        self._over = threading.Event()

    def run(self):
        while not self._over.wait(INTERVAL):
            for name, eye in self.eyes.items():
                now, seen = boottime(), eye.systems()
                if not self.changes[name] or self.changes[name][-1][1] != seen:
                    self.changes[name].append((now, seen))

    def stop(self):
        self._over.set()
        self.join(timeout=10)


class FaultLog:
    """What the fault agent of one host wrote since this object was made. Can be read while the host is off."""

    def __init__(self, host):
        self._path = os.path.join(host.dir, "upper", "var", "log", "flurry-fault.log")
        self._start = os.path.getsize(self._path) if os.path.exists(self._path) else 0

    def lines(self):
        try:
            with open(self._path) as log:
                log.seek(self._start)
                return [json.loads(line) for line in log.read().splitlines(True) if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def writes(self):
        return [line for line in self.lines() if "phase" in line]

    def was_hit(self, point):
        return any(line.get("hit") == point for line in self.lines())

    def reached(self, phase):
        return any(line["phase"] == phase and line["written"] for line in self.writes())

    def is_over(self):
        """The story has ended, or could not even begin."""
        return self.reached("ended") or any(not w["written"] and w["phase"] == "prepared" for w in self.writes())

    def first(self, phase):
        """Seconds on the boot clock, or None."""
        return next((w["at"] / 1000 for w in self.writes() if w["phase"] == phase and w["written"]), None)
