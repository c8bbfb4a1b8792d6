"""Every pair of Nix versions: a controller with 2.8 (Debian 12) or 2.26 (Debian 13), hosts with either."""

import json
import os
import shutil
import subprocess

import pytest
from harness import Lab, deploy_flake, flurry_binary
from steps import outcomes, reasons

HOSTS = {"h1": "2.8", "h2": "2.26"}
GOOD, BETTER = ({host: {"release": release} for host in HOSTS} for release in ("1", "2"))
BAD = {host: {"release": "3", "fault": "unitFails"} for host in HOSTS}


@pytest.fixture(scope="module")
def lab():
    """h1 has the old Nix, h2 the newer one, and so has h3, from which it is deployed too."""
    with Lab("versions", hosts=3, trixie=2) as lab:
        yield lab


def bundle(folder):
    """flurry with the libraries that it was linked to: Debian 13 has others."""
    os.makedirs(folder)
    shutil.copy(flurry_binary(), folder)
    agent = os.path.join(os.path.dirname(flurry_binary()), "flurry-agent")
    shutil.copy(agent, folder)
    for line in subprocess.run(["ldd", flurry_binary()], capture_output=True, text=True, check=True).stdout.splitlines():
        words = [word for word in line.split() if word.startswith("/")]
        if words:
            shutil.copy(words[0], folder)
    return folder


class Here:
    """The lab's controller, with Debian 12's Nix."""
    nix, release = "2.8", GOOD

    def __init__(self, lab):
        self.lab = lab

    def deploy(self, systems, *options):
        flake = deploy_flake(self.lab.dir, systems, name=f"from-{self.nix}")
        return self._told(self.lab.flurry("deploy", flake, "--yes", "--output", "json", *options))

    def version(self):
        return self.lab.run("nix", "--version", check=True)[1]

    @staticmethod
    def _told(run):
        code, out, err = run
        events = [json.loads(line) for line in out.splitlines()]
        return code, outcomes(events), reasons(events) or err


class There(Here):
    """A host as controller, with Debian 13's Nix."""
    nix, release = "2.26", BETTER

    def __init__(self, lab):
        super().__init__(lab)
        for host in HOSTS:      # the way that the controller has
            lab.run("scp", "-q", *(os.path.join(lab.names.home, ".ssh", f) for f in ("id_ed25519", "known_hosts")),
                    "h3:/root/.ssh/", check=True)
            lab.ssh("h3", f"printf 'Host {host}\\n HostName {lab.names.address(host)}\\n' >> /root/.ssh/config")
        lab.run("scp", "-q", "-r", bundle(os.path.join(lab.dir, "bundle")), "h3:/root/", check=True)

    def version(self):
        return self.lab.ssh("h3", "nix --version")

    def deploy(self, systems, *options):
        flake = deploy_flake(self.lab.dir, systems, name=f"from-{self.nix}")
        self.lab.ssh("h3", "rm -rf /root/flake")
        self.lab.run("scp", "-q", "-r", flake, "h3:/root/flake", check=True)
        flurry = "/root/bundle/ld-linux-x86-64.so.2 --library-path /root/bundle /root/bundle/flurry"
        return self._told(self.lab.run("ssh", "h3", "FLURRY_AGENT=/root/bundle/flurry-agent", flurry, "deploy",
                                       "/root/flake", "--yes", "--output", "json", *options, timeout=120))


@pytest.fixture(scope="module", params=[Here, There], ids=lambda side: f"controller-{side.nix}")
def controller(request, lab):
    return request.param(lab)


def test_a_controller_of_either_version_deploys_to_hosts_of_both(lab, controller):
    assert controller.version().startswith(f"nix (Nix) {controller.nix}.")
    assert [lab.ssh(host, "nix --version").startswith(f"nix (Nix) {nix}.") for host, nix in HOSTS.items()] == [True, True]
    code, ended, why = controller.deploy(controller.release)
    assert (code, ended) == (0, dict.fromkeys(HOSTS, "succeeded")), why
    code, ended, why = controller.deploy(controller.release)
    assert (code, ended) == (0, dict.fromkeys(HOSTS, "unchanged")), why


def test_a_bad_release_from_a_controller_of_either_version_goes_back_on_both(lab, controller):
    before = {host: lab.host_state(host)["current_system"] for host in HOSTS}
    code, ended, why = controller.deploy(BAD)
    assert (code, ended) == (4, dict.fromkeys(HOSTS, "rolled-back")), why
    assert {host: lab.host_state(host)["current_system"] for host in HOSTS} == before


def test_an_evaluation_error_is_its_hosts_own_with_either_version(lab, controller):
    systems = {**GOOD, "h1": {"release": "1", "fault": "thisFaultIsNotThere"}}
    code, ended, why = controller.deploy(systems)
    assert code == 2 and ended["h1"] == "failed-unchanged" and ended["h2"] in ("unchanged", "succeeded"), why
    assert "thisFaultIsNotThere" in why["h1"], why
