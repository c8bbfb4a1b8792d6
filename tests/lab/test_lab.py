"""Tests of the lab itself, and of minios: what every other lab test stands on."""

import glob
import os
import select
import signal
import subprocess
import time

import pytest

from harness import HERE, Expr, Lab, deploy_flake, toplevel
import labcgroup
import labnet
from labnames import Names
from labproc import wait_until


@pytest.fixture(scope="module")
def lab():
    with Lab("selftest", hosts=3, trixie=1, forky=1, small={"h2:/nix": "64m"}) as running:
        yield running


@pytest.fixture(params=["h1", "h2", "h3"], scope="module")
def host(request):
    return request.param


def leftovers(name):
    """Everything that a lab of this name still has on the machine."""
    names = Names(name)
    mounts = [line for line in open("/proc/self/mountinfo") if names.state in line or f"{names.netns} " in line]
    processes = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            line = open(path, "rb").read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"labsupervisor.py {name} " in line or names.machine("h") in line or names.state in line:
            processes.append(line)
    return {
        "state": glob.glob(names.state) + glob.glob(names.lock), "mounts": mounts, "processes": processes,
        "netns": [netns for netns in labnet.namespaces() if names.is_ours(netns)],
        "cgroup": labcgroup.everywhere(name), "nspawn": glob.glob(f"/run/systemd/nspawn/*/{names.machine('h')}*"),
    }


def nothing(name):
    return {kind: found for kind, found in leftovers(name).items() if found}


def switch(lab, host, system, action, variables=""):
    """Exit status of switch-to-configuration and what it said. Past the network, as some cut it."""
    done = lab.host(host).enter(["sh", "-c", f"{variables} {system}/bin/switch-to-configuration {action} 2>&1"],
                                timeout=60, check=False)
    return done.returncode, done.stdout


def install(lab, host, **arguments):
    flake = deploy_flake(lab.dir, {host: arguments})
    system = lab.build(toplevel(flake, host))
    lab.copy(host, system)
    return system


# --- the lab ---------------------------------------------------------------------------------------------------

def test_fresh_host_runs_the_factory_system(lab, host):
    state = lab.host_state(host)
    assert "nixos-system-factory-0" in state["current_system"]
    assert state["current_system"] == state["booted_system"] == state["boot_default"] == state["profile"]
    assert state["generation"] == 1 and state["failed_units"] == []
    assert lab.ssh(host, "systemctl is-system-running --wait").strip() == "running"


def test_logins(lab, host):
    assert lab.ssh(f"deploy@{host}", "sudo -n id -un").strip() == "root"
    assert lab.ssh(f"plain@{host}", "id -un").strip() == "plain"
    assert lab.run("ssh", f"plain@{host}", "sudo -n true")[0] != 0
    assert lab.ssh(host, "cat /etc/hostname").strip() == host


def test_etc_systemd_is_read_only_as_on_nixos(lab, host):
    assert lab.run("ssh", host, "touch /etc/systemd/system/mine.service")[0] != 0


def test_run_passes_status_streams_and_directory(lab):
    code, out, err = lab.run("sh", "-c", "pwd; echo oops >&2; exit 7", cwd="/tmp")
    assert (code, out, err) == (7, "/tmp\n", "oops\n")
    process = lab.popen("sleep", "60")
    time.sleep(0.3)
    process.kill()
    assert process.wait(timeout=5) == -signal.SIGKILL


def test_cut_and_heal(lab, host):
    lab.cut(host)
    assert lab.run("ssh", "-o", "ConnectTimeout=1", host, "true")[0] == 255
    lab.heal(host)
    lab.wait(host, timeout=20)


def test_power_off_and_on(lab):
    lab.power_cut("h1", off=True)
    assert "off (signal SIGKILL)" in lab.lab("status")
    lab.start("h1")
    for _ in range(4):
        lab.power_cut("h1")
    assert lab.host_state("h1")["failed_units"] == []
    lab.enter("h1", "systemctl poweroff")
    wait_until("h1: off", lambda: "off (exit 0)" in lab.lab("status"), 20, 0.3)
    lab.start("h1")


def test_a_frozen_sshd_takes_no_login_and_its_sessions_stand_still(lab, host):
    session = lab.popen("ssh", host, "while :; do echo alive; sleep 0.1; done")
    try:
        assert session.stdout.readline() == "alive\n"
        lab.freeze(host, "sshd")
        assert lab.run("timeout", "2", "ssh", "-o", "ConnectTimeout=1", host, "true")[0] != 0
        while select.select([session.stdout], [], [], 1)[0]:     # what was on its way; then a second of silence
            assert os.read(session.stdout.fileno(), 65536)
        lab.thaw(host, "sshd")
        lab.wait(host, timeout=20)
        assert select.select([session.stdout], [], [], 10)[0]
    finally:
        session.kill()
        session.wait(timeout=5)


def test_a_unit_is_frozen_by_its_name(lab):
    lab.freeze("h1", "ssh.service")
    assert lab.run("timeout", "2", "ssh", "-o", "ConnectTimeout=1", "h1", "true")[0] != 0
    lab.thaw("h1", "ssh.service")
    lab.wait("h1", timeout=20)


def test_full_store(lab):
    lab.fill("h2")
    assert lab.run("ssh", "h2", "head -c 100000 /dev/zero > /nix/x")[0] != 0
    lab.unfill("h2")
    lab.ssh("h2", "head -c 100000 /dev/zero > /nix/x && rm /nix/x")


def test_small_size_is_checked(lab):
    with pytest.raises(AssertionError, match="h1: /nix is not small"):
        lab.fill("h1")


# --- minios ----------------------------------------------------------------------------------------------------

def test_switch_changes_the_boot_default_and_test_does_not(lab, host):
    factory = lab.host_state(host)["boot_default"]
    new = install(lab, host, release="new", web=True)
    assert switch(lab, host, new, "dry-activate")[1].startswith("would activate the configuration...\n")
    assert lab.host_state(host)["current_system"] == factory
    code, said = switch(lab, host, new, "test")
    assert code == 0 and "the following new units were started: " in said and "web.service\n" in said
    state = lab.host_state(host)
    assert (state["current_system"], state["boot_default"]) == (new, factory)
    assert lab.ssh(host, f"{new}/sw/bin/wget -qO- http://localhost/healthz").strip() == "new"

    # Going back by `test` of the old one takes the new units away.
    assert switch(lab, host, factory, "test")[0] == 0
    assert lab.ssh(host, "systemctl is-active web.service", check=False).strip() == "inactive"
    assert lab.ssh(host, "systemctl show -P LoadState web.service").strip() == "not-found"

    assert switch(lab, host, new, "boot")[0] == 0
    state = lab.host_state(host)
    assert (state["current_system"], state["boot_default"]) == (factory, new)
    lab.reboot(host)
    after = lab.host_state(host)
    assert after["current_system"] == after["booted_system"] == new and after["boot_id"] != state["boot_id"]
    serving = f"{new}/sw/bin/wget -qO- http://localhost/healthz"
    wait_until(f"{host}: web", lambda: lab.enter(host, serving, check=False) == "new\n", 20)

    # A power cut forgets what was only tested.
    assert switch(lab, host, factory, "test")[0] == 0
    lab.power_cut(host)
    assert lab.host_state(host)["current_system"] == new
    assert switch(lab, host, factory, "switch")[0] == 0


@pytest.mark.parametrize("fault, code, says", [
    ("activationFails", 2, "something went wrong"), ("unitFails", 4, "units failed: broken.service"),
    ("unitFlaps", 4, "units failed: flapping.service"), ("initInterfaceChanges", 100, "until you reboot"),
    ("checkFails", 1, "Pre-switch checks failed"), ("noisy", 0, "err 19999"),
])
def test_exit_codes(lab, host, fault, code, says):
    factory = lab.host_state(host)["boot_default"]
    system = install(lab, host, fault=fault)
    got, said = switch(lab, host, system, "test")
    assert got == code and says in said
    switched = lab.host_state(host)["current_system"] == system
    assert switched == (code not in (1, 100))
    assert switch(lab, host, factory, "test")[0] == 0
    assert lab.host_state(host)["failed_units"] == []


def test_refusals_change_nothing(lab, host):
    factory = lab.host_state(host)["current_system"]
    system = install(lab, host, fault="checkFails")
    assert switch(lab, host, system, "check")[0] == 1
    assert switch(lab, host, system, "check", "NIXOS_NO_CHECK=1")[0] == 0
    assert switch(lab, host, system, "nonsense")[0] == 1
    assert lab.run("ssh", f"plain@{host}", f"{factory}/bin/switch-to-configuration test")[0] == 1
    lab.ssh(host, "touch /boot/minios/fail")
    assert switch(lab, host, factory, "boot") == (1, "boot loader: /boot/minios/fail is there\nFailed to install bootloader\n")
    lab.ssh(host, "rm /boot/minios/fail")
    held = lab.popen("ssh", host, "flock /run/nixos/switch-to-configuration.lock sh -c 'echo held; cat'",
                     stdin=subprocess.PIPE)
    assert held.stdout.readline() == "held\n"
    assert switch(lab, host, factory, "test") == (11, "Could not acquire lock\n")
    held.communicate(timeout=20)
    assert lab.host_state(host)["current_system"] == factory


def test_web_can_be_broken_while_its_unit_runs(lab, host):
    system = install(lab, host, web={"status": 500, "port": 81})
    assert switch(lab, host, system, "test")[0] == 0
    assert "500" in lab.ssh(host, f"{system}/sw/bin/wget -O- http://localhost:81/healthz 2>&1", check=False)
    assert lab.ssh(host, "systemctl is-active web").strip() == "active"
    switch(lab, host, lab.host_state(host)["boot_default"], "test")


@pytest.mark.parametrize("fault", ["cutsNetwork", "stopsSshd"])
def test_lost_access_is_mended_by_going_back(lab, host, fault):
    system = install(lab, host, fault=fault)
    factory = lab.host_state(host)["boot_default"]
    assert switch(lab, host, system, "test")[0] == 0
    assert lab.run("ssh", "-o", "ConnectTimeout=1", host, "true")[0] == 255
    assert switch(lab, host, factory, "test")[0] == 0
    lab.wait(host, timeout=20)


def test_hanging_activation_holds_the_lock_only_while_the_switch_lives(lab, host):
    factory = lab.host_state(host)["boot_default"]
    system = install(lab, host, fault="activationHangs")
    lab.ssh(host, f"systemd-run -q --unit=hanging {system}/bin/switch-to-configuration test")
    log = "journalctl -q -o cat -u hanging.service"
    wait_until(f"{host}: activation", lambda: "activating" in lab.enter(host, log), 20, 0.2)
    assert switch(lab, host, factory, "test")[1] == "Could not acquire lock\n"
    assert lab.host_state(host)["current_system"] == factory
    lab.ssh(host, "systemctl kill -s KILL hanging.service")
    free = "flock -n /run/nixos/switch-to-configuration.lock echo free"
    wait_until(f"{host}: lock free", lambda: lab.enter(host, free, check=False) == "free\n", 20)
    assert switch(lab, host, factory, "test")[0] == 0


def test_ballast(lab):
    flake = deploy_flake(lab.dir, {
        "a": {"ballast": {"count": 20, "bytes": 100}, "shared": {"count": 3, "bytes": 100000}},
        "b": {"shared": {"count": 3, "bytes": 100000}, "fault": Expr("minios.faults.slowActivation 1")}})
    closures = {}
    for name in ("a", "b"):
        system = lab.build(toplevel(flake, name))
        closures[name] = set(lab.run("nix-store", "-qR", system, check=True)[1].split())
    assert len(closures["a"]) > len(closures["b"])
    assert len([path for path in closures["a"] & closures["b"] if "ballast-shared" in path]) == 4


# --- leaving nothing behind ------------------------------------------------------------------------------------

KILLED = os.environ.get("FLURRY_LAB_PREFIX", "") + "selftest3"


def lab_process(name, *args):
    return subprocess.Popen([os.path.join(HERE, "lab"), *args], env={**os.environ, "LAB": name},
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def down(name):
    assert lab_process(name, "down").wait(timeout=60) == 0


def test_down_leaves_nothing_and_may_be_repeated():
    with Lab("selftest2", hosts=2, forky=1, controller="forky") as other:
        other.popen("sleep", "600")
        versions = [other.run("nix", "--version", check=True)[1], *(other.ssh(host, "nix --version") for host in other.hosts)]
        assert versions[0] == versions[2] != versions[1]
        assert leftovers(other.name)["netns"]
    assert nothing(other.name) == {}
    down(other.name)
    assert nothing(other.name) == {}


@pytest.mark.parametrize("after", [0.15, 0.3, 0.6, 1.2])
def test_up_killed_midway(after):
    process = lab_process(KILLED, "up", "3")
    time.sleep(after)
    process.kill()
    process.wait(timeout=5)
    down(KILLED)
    assert nothing(KILLED) == {}


@pytest.mark.parametrize("after", [0.1, 0.2, 0.3])
def test_down_killed_midway(after):
    assert lab_process(KILLED, "up", "2").wait(timeout=60) == 0
    process = lab_process(KILLED, "down")
    time.sleep(after)
    process.kill()
    process.wait(timeout=5)
    down(KILLED)
    assert nothing(KILLED) == {}


def test_down_ends_an_up_that_still_runs():
    process = lab_process(KILLED, "up", "3")
    time.sleep(0.5)
    down(KILLED)
    assert process.wait(timeout=10) != 0
    assert nothing(KILLED) == {}
