"""What becomes of the host as a whole in the middle of a deployment: nothing of it stops the way back."""

import time

import pytest
from harness import Lab, deploy_flake, toplevel
from steps import Run, assert_on, status, wait_for_outcome

# The deadline comes soon after the strike, and nothing can be healthy before it.
HEALTH = {"minHealthy": "7s", "deadline": "9s"}
SHORT = {"confirmTimeout": "5s", "activationTimeout": "15s"}
HOSTS = ("h1", "h2", "h3")    # systemd 252, 257 and 262
MODES = {
    "emergency": "systemctl start --no-block emergency.target",
    "rescue": "systemctl isolate --no-block rescue.target",
    "isolate": """printf '[Unit]\\nAllowIsolate=yes\\n' > /run/systemd/system/bare.target
                  systemctl daemon-reload; systemctl isolate --no-block bare.target""",
}
# As a NixOS switch, it has to have the system bus.
NEEDS_BUS = "busctl --system list > /dev/null || touch /run/no-bus"
# As a new entry of NixOS's fileSystems: local-fs.target requires it, and is started.
BROKEN_MOUNT = r"""
mkdir -p /run/systemd/system/local-fs.target.d
printf '[Unit]\nRequires=broken.mount\nAfter=broken.mount\n' > /run/systemd/system/local-fs.target.d/broken.conf
printf '[Mount]\nWhat=none\nWhere=/broken\nType=tmpfs\nOptions=no-such-option\n' > /run/systemd/system/broken.mount
systemctl daemon-reload
systemctl start --no-block local-fs.target
"""
MEND_MOUNT = "rm -rf /run/systemd/system/local-fs.target.d /run/systemd/system/broken.mount"


def flake_of(lab, release, hosts=HOSTS, activation=None):
    given = {"release": release, "activation": activation or f"{MEND_MOUNT}\n{NEEDS_BUS}"}
    return deploy_flake(lab.dir, {host: dict(given) for host in hosts}, health=HEALTH, flurry={"defaults": SHORT},
                        name=release)


def wait_until(holds, otherwise, timeout=120):
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.2)


def running(lab, host):
    return lab.enter(host, "readlink /run/current-system").strip()


@pytest.fixture(scope="module")
def lab():
    with Lab("survive", hosts=3, trixie=1, forky=1) as lab:
        lab.base = flake_of(lab, "base")
        assert lab.flurry("deploy", lab.base, "--yes")[0] == 0
        yield lab


@pytest.fixture
def base(lab):
    """{host: what it runs and must come back to}"""
    systems = {host: lab.build(toplevel(lab.base, host)) for host in HOSTS}
    for host in HOSTS:
        assert_on(lab, host, systems[host])
        lab.enter(host, "journalctl --rotate -q; journalctl --vacuum-time=1s -q; rm -f /run/no-bus")
    return systems


def assert_back(lab, host, system):
    """On the old system, out of every mode that waits for a human, and without a trace."""
    assert_on(lab, host, system)
    modes = "multi-user.target ssh.service dbus.service emergency.target rescue.target"
    states = dict(zip(modes.split(), lab.enter(host, f"systemctl is-active {modes}", check=False).split()))
    assert {unit for unit, state in states.items() if state == "active"} == \
        {"multi-user.target", "ssh.service", "dbus.service"}, states
    assert lab.host_state(host)["failed_units"] == []
    assert lab.enter(host, "ls /run/no-bus 2> /dev/null", check=False) == "", "went back without the bus"
    assert_quiet(lab, host)


def assert_quiet(lab, host):
    assert lab.enter(host, "journalctl -b | grep 'Failed to open /run/systemd' || true") == ""
    left = "systemctl list-units --all --plain --no-legend 'flurry-*' | grep -v flurry-agent || true"
    wait_until(lambda: lab.enter(host, left) == "", "a unit is left", 15)
    assert lab.enter(host, "ls /run/flurry | grep targets || true") == ""


@pytest.mark.parametrize("mode", MODES)
def test_no_mode_of_systemd_stops_the_way_back(lab, base, mode):
    run = Run(lab, "deploy", flake_of(lab, mode), "--yes")
    run.wait_stage_of_all(HOSTS, "check")
    for host in HOSTS:
        lab.enter(host, MODES[mode])
    code, ended, why = run.finish()
    assert (code, ended) == (4, dict.fromkeys(HOSTS, "rolled-back")), why
    for host in HOSTS:
        assert_back(lab, host, base[host])


def test_a_release_whose_mount_fails_ends_in_emergency_mode_and_comes_back(lab, base):
    run = Run(lab, "deploy", flake_of(lab, "mount", activation=BROKEN_MOUNT), "--yes")
    wait_until(lambda: all("active" == lab.enter(host, "systemctl is-active emergency.target", check=False).strip()
                           for host in HOSTS), "the release never broke the host")
    code, ended, why = run.finish()
    assert (code, ended) == (4, dict.fromkeys(HOSTS, "rolled-back")), why
    for host in HOSTS:
        assert_back(lab, host, base[host])


# As on NixOS, which activates nothing at a soft reboot: what ran before it runs after it.
KEEP = "ln -s /dev/null /run/systemd/system/minios-boot.service; systemctl daemon-reload"
UNKEEP = "rm -f /run/systemd/system/minios-boot.service; systemctl daemon-reload"


def soft_reboot(lab, host):
    # A systemd that is on its way may leave the question without an answer.
    count = "timeout 5 systemctl show -P SoftRebootsCount"
    before = lab.enter(host, count).strip()
    lab.enter(host, "systemctl soft-reboot", check=False)
    wait_until(lambda: lab.enter(host, count, check=False).strip() not in ("", before), "no soft reboot")


@pytest.mark.parametrize("keeps", [False, True], ids=["old-system-boots", "new-system-stays"])
def test_a_soft_reboot_is_a_reboot(lab, base, keeps):
    if keeps:
        lab.enter("h3", KEEP)
    run = Run(lab, "deploy", flake_of(lab, f"soft-{keeps}"), "--on", "h3", "--yes")
    run.wait_stage("h3", "check")
    soft_reboot(lab, "h3")
    code, ended, why = run.finish()
    assert (code, ended) == (4, {"h3": "rolled-back"}), why
    assert "reboot" in why["h3"]
    assert_on(lab, "h3", base["h3"])
    lab.enter("h3", UNKEEP)


def test_after_a_soft_reboot_the_deadman_alone_brings_the_host_back(lab, base):
    lab.enter("h2", KEEP)
    flake = flake_of(lab, "soft-alone")
    run = Run(lab, "deploy", flake, "--on", "h2", "--yes")
    run.wait_stage("h2", "check")
    run.kill()
    soft_reboot(lab, "h2")
    wait_until(lambda: running(lab, "h2") == base["h2"], "nobody went back")
    lab.enter("h2", UNKEEP)
    assert "reboot" in wait_for_outcome(lab, flake, "h2", "rolled-back")["last"]["reason"]
    assert_on(lab, "h2", base["h2"])


def test_a_mount_over_the_agents_files_takes_nothing_from_the_deadman(lab, base):
    flake = flake_of(lab, "covered")
    run = Run(lab, "deploy", flake, "--on", "h1", "--yes")
    run.wait_stage("h1", "check")
    run.kill()
    # Not `systemctl stop`: it names the unit once more when it may be gone, and systemd 252 complains of that.
    lab.enter("h1", "mount -t tmpfs none /var/lib/flurry; systemctl kill flurry-agent.service")
    wait_until(lambda: running(lab, "h1") == base["h1"], "the deadman lost its journal or its program")
    lab.enter("h1", "umount /var/lib/flurry")
    wait_for_outcome(lab, flake, "h1", "rolled-back")
    assert_back(lab, "h1", base["h1"])


def test_what_a_frozen_agent_missed_is_told_as_it_was(lab, base):
    activation = "while [ -e /run/hold ]; do sleep 0.1; done"
    flake = flake_of(lab, "frozen", activation=activation)
    lab.enter("h1", "touch /run/hold")
    run = Run(lab, "deploy", flake, "--on", "h1", "--yes")
    run.wait_stage("h1", "activate")
    wait_until(lambda: "flurry-switch" in lab.enter("h1", "systemctl list-units --plain 'flurry-switch-*'"), "no switch")
    lab.enter("h1", "systemctl kill -s STOP --kill-whom=main flurry-agent.service; rm /run/hold")
    run.kill()
    # Without a contact, which would only be answered by the frozen agent.
    wait_until(lambda: "ended" in lab.enter("h1", "journalctl -u 'flurry-*' | grep rolled-back || true"), "nobody acted", 90)
    told = status(lab, flake, "h1")["last"]
    assert told["outcome"] == "rolled-back" and "stuck" in told["reason"], told
    assert "activation timeout" not in told["reason"], told
    assert_quiet(lab, "h1")
