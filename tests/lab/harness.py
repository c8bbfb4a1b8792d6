"""For tests: a lab as a context manager, and flakes of minios systems made from Python values.

    with Lab("mytest", hosts=2) as lab:
        flake = deploy_flake(lab.dir, {"h1": {"release": "2"}, "h2": {"fault": "cutsNetwork"}})
        code, out, err = lab.flurry("deploy", flake, "--yes")
        assert lab.host_state("h2")["boot_default"] == …

Every wait has a deadline; a lab that a test leaves by an exception is taken down too.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.join(HERE, "..", "..", "deploy-examples", "demo")
sys.path.insert(0, HERE)

import labctl                        # noqa: E402
from labhosts import Host            # noqa: E402
from labnames import Names           # noqa: E402


def flurry_binary():
    return os.path.abspath(os.environ.get("FLURRY", os.path.join(HERE, "..", "..", "build", "bin", "flurry")))


# What a fresh Lab host looks like; host_state prints one fact a line, in this order.
STATE_SCRIPT = r"""
readlink /run/current-system || echo
readlink /run/booted-system || echo
cat /boot/minios/default 2> /dev/null || echo
readlink -f /nix/var/nix/profiles/system || echo
readlink /nix/var/nix/profiles/system || echo
cat /proc/sys/kernel/random/boot_id
systemctl list-units --state=failed --no-legend --plain | sed 's/ .*//' | tr '\n' ' '
"""


class Lab:
    """`lab up` at entry, `lab down` at exit. All methods take host names."""

    def __init__(self, name, hosts=1, trixie=0, forky=0, bare=False, small=None, controller=None):
        name = os.environ.get("FLURRY_LAB_PREFIX", "") + name   # so that two checkouts can run side by side
        self.name, self.hosts = name, [f"h{n}" for n in range(1, hosts + 1)]
        self.names = Names(name)
        self._up = [str(hosts), "--trixie", str(trixie), "--forky", str(forky), *(["--bare"] if bare else [])]
        self._up += [] if controller is None else ["--controller", controller]   # "": this machine
        for place, size in (small or {}).items():          # {"h1:/nix": "16m"}
            self._up += ["--small", f"{place}={size}"]

    def __enter__(self):
        self.lab("down", timeout=60)                       # what an interrupted run may have left
        self.dir = tempfile.mkdtemp(prefix=f"flurry-{self.name}-")
        try:
            self.lab("up", *self._up, timeout=2400)        # minutes only when the cache is cold
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # An impatient second Ctrl-C must not stop what cleans up after the first.
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
        try:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.lab("down", timeout=60)
        finally:
            if main:
                signal.signal(signal.SIGINT, before)

    def lab(self, *args, timeout=90, check=True):
        """The lab command itself; its output."""
        done = subprocess.run([os.path.join(HERE, "lab"), *args], env={**os.environ, "LAB": self.name},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"lab {' '.join(args)}: exit {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    # --- on the controller -----------------------------------------------------------------------------------

    def popen(self, *command, **kwargs):
        """Start a command on the controller; the process is the command itself, so kill() kills it."""
        kwargs = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
                  **kwargs}
        env = {**os.environ, "LAB": self.name, **kwargs.pop("env", {})}
        return subprocess.Popen([os.path.join(HERE, "lab"), "run", "--", *command], env=env, **kwargs)

    def run(self, *command, timeout=60, check=False, **kwargs):
        """(code, stdout, stderr) of a command on the controller. Past its deadline it is killed, and the test fails."""
        process = self.popen(*command, **kwargs)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate(timeout=10)
            raise AssertionError(f"{' '.join(command)}: no end after {timeout} s\n{out}{err}") from None
        if check and process.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {process.returncode}: {err}{out}")
        return process.returncode, out, err

    def flurry(self, *args, timeout=120, **kwargs):
        return self.run(flurry_binary(), *args, timeout=timeout, **kwargs)

    def flurry_json(self, *args, timeout=120):
        """(code, events): the run's JSON lines; anything else on stdout fails the test."""
        code, out, err = self.flurry(*args, "--output", "json", timeout=timeout)
        try:
            return code, [json.loads(line) for line in out.splitlines()]
        except ValueError as error:
            raise AssertionError(f"stdout is not JSON lines ({error}):\n{out}\n{err}") from None

    def start_flurry(self, *args, **kwargs):
        return self.popen(flurry_binary(), *args, **kwargs)

    def ssh(self, host, command, timeout=60, check=True):
        """Stdout of a shell command over ssh."""
        return self.run("ssh", "-o", "ConnectTimeout=5", host, command, timeout=timeout, check=check)[1]

    def build(self, attribute):
        """Store path of a flake attribute (`FLAKE#attr`), built in the controller's store."""
        self.run("nix", "build", "--no-link", attribute, timeout=300, check=True)
        return self.run("nix", "eval", "--raw", attribute, timeout=60, check=True)[1].strip()

    def copy(self, host, path):
        """Copy a closure by Nix itself, for tests that need no flurry."""
        self.run("nix", "copy", "--no-check-sigs", "--to", f"ssh://{host}", path, timeout=120, check=True)

    # --- on the hosts, past the network ----------------------------------------------------------------------

    def host(self, name):
        return Host(self.names, name)

    def enter(self, host, command, timeout=60, check=True):
        """Stdout of a shell command inside a host, whatever has become of its network."""
        return self.host(host).enter(["sh", "-c", command], timeout=timeout, check=check).stdout

    def host_state(self, host):
        lines = self.enter(host, STATE_SCRIPT).split("\n")
        link = lines[4]
        return {
            "current_system": lines[0], "booted_system": lines[1], "boot_default": lines[2],
            "profile": lines[3], "generation": int(link.split("-")[1]) if link.startswith("system-") else None,
            "boot_id": lines[5], "failed_units": lines[6].split(),
        }

    # --- faults ----------------------------------------------------------------------------------------------

    def cut(self, host):
        self.lab("cut", host)

    def heal(self, host):
        self.lab("heal", host)

    def reboot(self, host, wait=True):
        self.lab("reboot", host, *([] if wait else ["--no-wait"]), timeout=150)

    def power_cut(self, host, off=False, wait=True):
        self.lab("power-cut", host, *(["--off"] if off else []), *([] if wait else ["--no-wait"]), timeout=150)

    def start(self, host):
        self.lab("start", host)

    def wait(self, host, timeout=60):
        self.lab("wait", host, "--timeout", str(timeout), timeout=timeout + 30)

    def freeze(self, host, process):
        self.lab("freeze", host, process)

    def thaw(self, host, process):
        self.lab("thaw", host, process)

    def fill(self, host, path="/nix", leave=0):
        self.lab("fill", host, path, "--leave", str(leave))

    def unfill(self, host, path="/nix"):
        self.lab("unfill", host, path)


# --- flakes ------------------------------------------------------------------------------------------------------

def nix(value):
    """A Python value as a Nix expression. `Expr("…")` goes in as it stands."""
    if isinstance(value, Expr):
        return f"({value})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${").replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, (list, tuple)):
        return "[ " + " ".join(nix(item) for item in value) + " ]"
    return "{ " + " ".join(f"{nix(str(key))} = {nix(item)};" for key, item in value.items()) + " }"


class Expr(str):
    """Nix source, as in Expr('minios.faults.slowActivation 5')."""


DEFAULT_HEALTH = {"minHealthy": "1s", "deadline": "15s"}


def deploy_flake(folder, systems, health=None, hosts=None, flurry=None, name="flake"):
    """Write (or rewrite) a flake in folder/name and return its path.

    systems  {host: arguments of mkSystem}, and of our own: "fault" (a name or an Expr from minios.faults),
             "web" (True, or arguments of minios.web: port, status). Default release "1".
    health   the default health of all hosts; hosts  {host: more fields of flurry.hosts}
    flurry   more fields of the flurry output (rollout, defaults)
    """
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        subprocess.run([os.path.join(HERE, "prepare-flake"), DEMO, path], check=True, timeout=30)
    entries = "".join(f"      {nix(host)} = {_system(host, dict(given))};\n" for host, given in systems.items())
    extra = dict(flurry or {})
    defaults = {"health": DEFAULT_HEALTH if health is None else health, **extra.pop("defaults", {})}
    output = {"defaults": defaults, "hosts": {host: (hosts or {}).get(host, {}) for host in systems}, **extra}
    with open(os.path.join(path, "flake.nix"), "w") as out:
        out.write(f"""{{
  outputs = {{ self }}:
    let minios = import ./minios {{ busyboxDir = ./.; }};
    in {{
    nixosConfigurations = {{
{entries}    }};
    flurry = {nix(output)};
  }};
}}
""")
    return path


def _system(host, given):
    given.setdefault("release", "1")
    given.setdefault("name", host)
    fault, web = given.pop("fault", None), given.pop("web", None)
    if fault is not None:
        given["with'"] = fault if isinstance(fault, Expr) else Expr(f"minios.faults.{fault}")
    if web:
        options = {"release": given["release"], **(web if isinstance(web, dict) else {})}
        given["units"] = {"web": Expr(f"minios.web {nix(options)}"), **given.get("units", {})}
    return f"minios.mkSystem {nix(given)}"


def toplevel(flake, host):
    return f"path:{flake}#nixosConfigurations.{host}.config.system.build.toplevel"
