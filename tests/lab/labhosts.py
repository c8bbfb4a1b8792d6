"""The hosts of a lab from the outside: their files before the first boot, faults, and what state they are in."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid

import labcgroup
import labnet
from labproc import LabError, run, wait_until
from labsupervisor import read, write

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


class Host:
    def __init__(self, names, name):
        self.names, self.name = names, name
        self.dir = names.host_dir(name)
        if not os.path.isdir(self.dir):
            raise LabError(f"{name}: no such host in lab {names.lab}")

    @staticmethod
    def create(names, name, suite, lower, small, authorized_key):
        """The host's directory and the files that make it this host. Returns its public host key."""
        top = names.host_dir(name)
        etc = os.path.join(top, "upper", "etc")
        for folder in ("ssh", "lab"):
            os.makedirs(os.path.join(etc, folder))
        for folder in ("work", "root"):
            os.makedirs(os.path.join(top, folder))
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name,
             "-f", os.path.join(etc, "ssh", "ssh_host_ed25519_key")])
        public = read(os.path.join(etc, "ssh", "ssh_host_ed25519_key.pub"))
        write(os.path.join(etc, "hostname"), name)
        write(os.path.join(etc, "machine-id"), uuid.uuid4().hex)
        write(os.path.join(etc, "hosts"), f"127.0.0.1 localhost {name}\n::1 localhost")
        write(os.path.join(etc, "lab", "address"), f"{names.address(name)}/24 {names.address(name)[:-2]}1")
        write(os.path.join(etc, "lab", "authorized_keys"), authorized_key)
        write(os.path.join(top, "want"), "on")
        with open(os.path.join(top, "host.json"), "w") as out:
            json.dump({"suite": suite, "lower": lower, "small": small}, out)
        return " ".join(public.split()[:2])

    def start_supervisor(self):
        with open(os.path.join(self.dir, "supervisor.log"), "a") as log:
            subprocess.Popen(["unshare", "--mount", "--propagation", "slave", PYTHON,
                              os.path.join(HERE, "labsupervisor.py"), self.names.lab, self.name],
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    # --- what it is like -------------------------------------------------------------------------------------

    def fact(self, name):
        return read(os.path.join(self.dir, name))

    def boots(self):
        return int(self.fact("boots") or 0)

    def running(self):
        return self.init_pid() is not None

    def group(self):
        return labcgroup.group(self.names.lab, self.name)

    def init_pid(self):
        """The machine's number of the host's PID 1."""
        for pid, folder in labcgroup.members(os.path.join(self.group(), "payload")).items():
            try:
                for line in open(f"/proc/{pid}/status"):
                    if line.startswith("NSpid:") and line.split()[-1] == "1" and len(line.split()) == 3:
                        return pid
            except OSError:
                continue
        return None

    def enter(self, argv, timeout=20, check=True, **kwargs):
        """Run a command inside, past the network: also in a host that is cut off or whose sshd is stopped."""
        pid = self.init_pid()
        if pid is None:
            raise LabError(f"{self.name}: is not running (last: {self.fact('last') or 'never started'})")
        try:
            return run(["nsenter", "-t", str(pid), "--all", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                        "HOME=/root", *argv], timeout=timeout, check=check, **kwargs)
        except LabError as error:
            raise LabError(f"{self.name}: {error}") from None

    def wait_ssh(self, timeout=60):
        """Until a login works. The caller stands in the controller's network namespace (labctl.enter_network)."""
        address = self.names.address(self.name)

        def banner():
            try:
                with socket.create_connection((address, 22), timeout=1) as connection:
                    connection.settimeout(2)
                    return connection.recv(4) == b"SSH-"
            except OSError:
                return False

        def login():
            return banner() and run(
                ["ssh", "-F", os.path.join(self.names.home, ".ssh", "config"), "-o", "ConnectTimeout=5",
                 "-o", "BatchMode=yes", self.name, "true"], timeout=20, check=False).returncode == 0

        started = time.monotonic()
        try:
            wait_until(f"{self.name}: ssh", login, timeout)
        except LabError:
            why = "running" if self.running() else f"not running, last {self.fact('last') or 'never started'}"
            said = self.fact("console")[-500:].strip()
            raise LabError(f"{self.name}: no ssh after {timeout} s ({why}). Its console ends with:\n{said}") from None
        return time.monotonic() - started

    # --- faults ----------------------------------------------------------------------------------------------

    def reboot(self, timeout=60):
        before = self.boots()
        self.enter(["systemctl", "reboot"], check=False)
        wait_until(f"{self.name}: going down and starting again", lambda: self.boots() > before, timeout)

    def power_cut(self, off=False, timeout=20):
        before = self.boots()
        write(os.path.join(self.dir, "want"), "off" if off else "on")
        # systemd-nspawn only: its supervisor kills the rest at once. Were it us, we could hit the next boot.
        labcgroup.kill_members(os.path.join(self.group(), "supervisor"))
        if off:
            wait_until(f"{self.name}: power off", lambda: not self.fact("pid"), timeout)
        else:
            wait_until(f"{self.name}: starting again", lambda: self.boots() > before, timeout)

    def start(self, timeout=20):
        before = self.boots()
        if self.running():
            raise LabError(f"{self.name}: is running already")
        write(os.path.join(self.dir, "want"), "on")
        wait_until(f"{self.name}: starting", lambda: self.boots() > before, timeout)

    def signal(self, process, number):
        """To a unit's processes (its control group), or to all of that name and to what it started under a longer one:
        since OpenSSH 9.8 a login is held by sshd-session. From outside: works on a dead-locked host."""
        hit = []
        for pid, folder in labcgroup.members(os.path.join(self.group(), "payload")).items():
            try:
                comm = open(f"/proc/{pid}/comm").read().strip()
            except OSError:
                continue
            parts = folder.split("/")
            if process in parts or f"{process}.service" in parts or comm == process[:15] or comm.startswith(f"{process}-"):
                hit.append(pid)
        for pid in hit:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        if not hit:
            raise LabError(f"{self.name}: no process or unit named {process}")
        return hit

    def freeze(self, process):
        return self.signal(process, signal.SIGSTOP)

    def thaw(self, process):
        return self.signal(process, signal.SIGCONT)

    def fill(self, path="/nix", leave=0):
        """Use up the space of a small file system (see `up --small-store`); never the machine's own disk."""
        with open(os.path.join(self.dir, "host.json")) as description:
            small = json.load(description)["small"]
        if path not in small:
            raise LabError(f"{self.name}: {path} is not small here; start the lab with --small {self.name}:{path}=SIZE")
        script = (f"rm -f {path}/.lab-fill; free=$(df -B1 --output=avail {path} | tail -n 1); "
                  f"fallocate -l $((free - {leave})) {path}/.lab-fill")
        self.enter(["sh", "-euc", script])

    def unfill(self, path="/nix"):
        self.enter(["rm", "-f", f"{path}/.lab-fill"])

    def status(self):
        with open(os.path.join(self.dir, "host.json")) as description:
            suite = json.load(description)["suite"]
        power = "on" if self.running() else f"off ({self.fact('last')})"
        link = "linked" if labnet.link_is_up(self.names, self.name) else "cut"
        return f"{self.name}  {self.names.address(self.name)}  {suite}  {power}  {link}  boots {self.boots()}"
