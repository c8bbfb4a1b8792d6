#!/usr/bin/python3
"""labsupervisor LAB HOST: keeps one host running. Started by `lab up` in a mount namespace of its own.

The host's overlay is mounted only in that namespace: when the last process in it dies, however it dies, the mounts
are gone with it. It talks by files in the host's directory:
  want    on | off: written by the lab; by us when the host powered itself off or can't start
  boots   how often it was started       pid   of systemd-nspawn, while it runs       last   how it ended
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import labcgroup
from labnames import Names
from labproc import run

REBOOT = 133          # systemd-nspawn's exit status when the host asked to be rebooted


def write(path, text):
    with open(path + ".tmp", "w") as out:
        out.write(f"{text}\n")
    os.rename(path + ".tmp", path)


def read(path):
    try:
        with open(path) as text:
            return text.read().strip()
    except FileNotFoundError:
        return ""


class Supervisor:
    def __init__(self, lab, host):
        self.names, self.host = Names(lab), host
        self.dir = self.names.host_dir(host)
        self.root = os.path.join(self.dir, "root")
        self.group = labcgroup.group(lab, host)
        with open(os.path.join(self.dir, "host.json")) as description:
            self.description = json.load(description)

    def path(self, name):
        return os.path.join(self.dir, name)

    def mount(self):
        lower = ":".join(self.description["lower"])
        run(["mount", "-t", "overlay", "overlay", "-o",
             f"lowerdir={lower},upperdir={self.path('upper')},workdir={self.path('work')}", self.root])
        for path, size in self.description["small"].items():
            self.mount_small(path, size)

    def mount_small(self, path, size):
        """A small tmpfs with what was at `path`. It belongs to this namespace, so it outlives power cuts."""
        target = self.root + path
        keep = self.path("small-content")
        os.makedirs(target, exist_ok=True)
        run(["cp", "-a", target, keep], timeout=120)
        run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", target])
        run(["cp", "-a", keep + "/.", target], timeout=120)
        shutil.rmtree(keep)

    def boot(self):
        """One life of the host, from power-on to the end of systemd-nspawn; its exit status."""
        argv = ["systemd-nspawn", "-q", "-D", self.root, "--register=no", "--keep-unit",
                "-M", self.names.machine(self.host), f"--hostname={self.host}",
                f"--network-namespace-path=/run/netns/{self.names.host_netns(self.host)}",
                "--capability=CAP_NET_ADMIN", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
                # PID 1, which becomes systemd. With --boot it would be systemd at once.
                "--kill-signal=SIGRTMIN+3", "/usr/local/lib/lab/stage-2"]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
               "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_LOCK": "0"}
        with open(self.path("console"), "w") as console:
            nspawn = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                      start_new_session=True)
        write(self.path("pid"), nspawn.pid)
        write(self.path("boots"), int(read(self.path("boots")) or 0) + 1)
        status = nspawn.wait()       # no deadline: this is the host's life; `down` ends it through the cgroup
        for below in ("payload", "supervisor"):
            labcgroup.kill(os.path.join(self.group, below))
        os.unlink(self.path("pid"))
        return status

    def loop(self):
        quick_failures = 0
        while True:
            if read(self.path("want")) == "off":
                time.sleep(0.1)
                continue
            started = time.monotonic()
            status = self.boot()
            write(self.path("last"), f"exit {status}" if status >= 0 else f"signal {signal.Signals(-status).name}")
            if status == 0:
                write(self.path("want"), "off")       # powered off from inside
            elif status not in (REBOOT, -signal.SIGKILL):
                quick_failures = quick_failures + 1 if time.monotonic() - started < 5 else 0
                if quick_failures >= 3:
                    write(self.path("want"), "off")   # it can't start; the console says why
                    quick_failures = 0
                time.sleep(0.2)


def main():
    lab, host = sys.argv[1:]
    supervisor = Supervisor(lab, host)
    labcgroup.join(supervisor.group)
    supervisor.mount()
    supervisor.loop()


if __name__ == "__main__":
    main()
