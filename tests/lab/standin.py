"""For tests of minios's switch-to-configuration: drives it on a host, past the network and without flurry.

Import `lab`, `hosts` and `h1` or `each`: each test leaves its host with the system that the host came with.
"""

import json

import pytest

from harness import Lab, deploy_flake, toplevel

LISTS = "cd /run/nixos && ls | grep -- -list$ || true"
SLEEPS = "exec sleep 1000000"


def unit(*unit_lines, service=(), **more):
    """A service that runs until it is stopped."""
    return {"exec": SLEEPS, "unitLines": list(unit_lines), "lines": list(service), **more}


def text(*lines):
    return {"text": "\n".join(lines) + "\n"}


class Switched:
    def __init__(self, lab, host):
        self.lab, self.host = lab, host
        self.factory = lab.host_state(host)["boot_default"]

    def make(self, **systems):
        """Paths of these systems in the host's store, in order."""
        flake = deploy_flake(self.lab.dir, {name: {"release": name, **given} for name, given in systems.items()})
        built = json.loads(self.lab.run("nix", "build", "--no-link", "--json", *(toplevel(flake, name) for name in systems),
                                        timeout=300, check=True)[1])
        by_name = {}
        for entry in built:
            path = entry["outputs"]["out"]
            by_name[path.rpartition("-")[2]] = path
        self.lab.run("nix", "copy", "--no-check-sigs", "--to", f"ssh://{self.host}", *by_name.values(), timeout=120, check=True)
        return [by_name[name] for name in systems]

    def sh(self, command, check=True, timeout=60):
        return self.lab.enter(self.host, command, check=check, timeout=timeout).strip()

    def switch(self, system, action="test", variables="", timeout=120):
        """(exit code, what it said on stderr)"""
        done = self.lab.host(self.host).enter(["sh", "-c", f"{variables} {system}/bin/switch-to-configuration {action}"],
                                              timeout=timeout, check=False)
        return done.returncode, done.stderr

    def ok(self, system):
        code, said = self.switch(system)
        assert code == 0, said
        return said

    def state(self, name):
        return self.sh(f"systemctl is-active {name}", check=False)

    def pid(self, name):
        return self.sh(f"systemctl show -P MainPID {name}")

    def lists(self):
        return self.sh(LISTS).split()


@pytest.fixture(scope="module")
def lab():
    with Lab("standin", hosts=2, trixie=1) as running:
        yield running


@pytest.fixture(scope="module")
def hosts(lab):
    return {host: Switched(lab, host) for host in lab.hosts}


def back(host):
    """The system that the host came with, and nothing left to do."""
    host.sh("rm -f /run/nixos/*-list /boot/minios/fail; "
            "touch /etc/NIXOS; systemctl reset-failed")
    host.switch(host.factory)
    assert host.sh("readlink /run/current-system") == host.factory


@pytest.fixture
def h1(hosts):
    yield hosts["h1"]
    back(hosts["h1"])


@pytest.fixture(params=["h1", "h2"])
def each(request, hosts):
    """Words of systemd's differ between versions."""
    yield hosts[request.param]
    back(hosts[request.param])
