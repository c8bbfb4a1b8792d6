"""What is told of a switch is what is so on the host: inputs over which exit codes lie, and another hand on the host."""

import pytest

from harness import Expr, deploy_flake, toplevel
from steps import FAST, Run, assert_on, deploy

SLEEPER = "exec sleep 1000000"
TASK = {"exec": "while [ -e /run/tasks ]; do sleep 0.1; done; sleep 1", "wanted": False}
BROKEN = {"exec": "echo 'broken: giving up' >&2; exit 1"}


def app(version):
    return {"app": {"exec": SLEEPER, "description": f"App, {version}"}}


# What runs before, the release, the outcome, and a word of the reason.
CASES = {
    # An exit code 4 for a unit that had failed before and is accepted hides the activation script's 2.
    "h1": ({"units": {"broken": BROKEN}},
           {"units": {"broken": BROKEN}, "activation": "echo oops >&2; return 1"}, "rolled-back", "activation script failed"),
    # A reload that fails: exit 4, and no unit is failed. The way back can't reload it either.
    "h2": ({"with'": Expr("minios.faults.reloadFails.before")}, {"fault": "reloadFails"}, "rollback-failed", "unreloadable.service"),
    # A unit that ran now requires one that fails: it is down, and only the other one is in the failed state.
    "h3": ({"with'": Expr("minios.faults.depFails.before")}, {"fault": "depFails"}, "rolled-back", "app.service"),
    # The bus goes away after units were stopped: exit 1, long before /run/current-system would have moved.
    "h4": ({"with'": Expr("minios.faults.stopsBus.before")}, {"fault": "stopsBus"}, "rolled-back", "exited with 1"),
    # Nothing had begun when the timeout ended it.
    "h5": ({"units": app(1)}, {"units": app(2), "fault": "checkHangs"}, "failed-unchanged", "activation timeout"),
    # The old system's own check would refuse the way back.
    "h6": ({"units": app(1), "preSwitchCheck": "[ ! -e /run/refuse ] || exit 1"},
           {"units": app(2), "activation": "touch /run/refuse; touch /run/sick"}, "rolled-back", "sick"),
    # Units are stopped and /etc is the new one's, and /run/current-system is still the old one.
    "h7": ({"units": app(1)}, {"units": app(2), "fault": "hangsInActivation"}, "rolled-back", "activation timeout"),
    # A task that somebody started by hand and that ends by itself in the middle is no failure, nor is one that the
    # switch restarts and that ends then.
    "h8": ({"units": {"task": TASK, "again": {**TASK, "description": "Again, 1"}, **app(1)}},
           {"units": {"task": TASK, "again": {**TASK, "description": "Again, 2"}, **app(2)}, "activation": "rm -f /run/tasks"},
           "succeeded", ""),
}

# Others of the kind, on hosts that the first ones left in order; and what somebody starts by hand before the release.
MORE = {
    # The switch on the way back meets jobs that wait for one of the switch before it, and is ended at its timeout too.
    "h3": ({"with'": Expr("(minios.faults.slowStop 20).before")}, {"fault": "slowStop 20"}, "rolled-back", "activation timeout"),
    # The switch stops at a unit that is gone, and so would every later one.
    "h8": ({"with'": Expr("minios.faults.reloadOfWhatIsGone.before")}, {"fault": "reloadOfWhatIsGone"}, "rolled-back", "exited with 1"),
    # An exit code that a held lock has too, with units down, on the way back as well.
    "h5": ({"with'": Expr("minios.faults.masksLogind.before")}, {"fault": "masksLogind"}, "rollback-failed", "systemd-logind.service"),
    # A unit that the release has no more is gone when the host has to go back.
    "h7": ({"units": {**app(1), "by-hand": {"exec": SLEEPER, "wanted": False}}},
           {"units": app(2), "activation": "touch /run/sick"}, "rolled-back", "sick"),
}
# Started by hand between the two: by the first ones, and by these.
BY_HAND = {"first": {"h8": "touch /run/tasks; systemctl start task.service again.service"},
           "more": {"h8": "systemctl start by-hand", "h7": "systemctl start by-hand"}}

NOT_SICK = {**FAST, "deadline": "6s", "checks": {"sick": {"command": ["test", "!", "-e", "/run/sick"], "interval": "500ms"}}}


def flake_of(fleet, name, systems, health=None, **defaults):
    hosts = {"h1": {"health": {"failedUnits": "ignore"}}} if "h1" in systems else {}
    return deploy_flake(fleet.dir, {host: {"release": name, **given} for host, given in systems.items()},
                        health=health or FAST, hosts=hosts, name=name, flurry={"defaults": {"activationTimeout": "12s", **defaults}})


def tell(fleet, name, cases):
    """{host: (what ran before, outcome, reason, the switch's last lines)}"""
    before = flake_of(fleet, f"{name}-before", {host: case[0] for host, case in cases.items()})
    code, ended, why = deploy(fleet, before)
    assert code == 0, why
    old = {host: fleet.host_state(host)["current_system"] for host in cases}
    for host, command in BY_HAND[name].items():
        fleet.enter(host, command)
    release = flake_of(fleet, f"{name}-release", {host: case[1] for host, case in cases.items()}, health=NOT_SICK)
    _, events = fleet.flurry_json("deploy", release, "--yes", timeout=300)
    ends = {end["host"]: end for end in (event["host_ended"] for event in events if "host_ended" in event)}
    return {host: (old[host], *(ends[host][part] for part in ("outcome", "reason", "output"))) for host in cases}


@pytest.fixture(scope="module")
def told(fleet):
    return tell(fleet, "first", CASES)


@pytest.fixture(scope="module")
def told_more(fleet, told):
    return tell(fleet, "more", MORE)


def expect_as_told(fleet, host, case, told):
    """What was told is so; returns what has become of the old system's units: {unit: its state}."""
    old, outcome, reason, _ = told
    _, _, wanted, word = case
    assert outcome == wanted, reason
    assert word in reason
    state = fleet.host_state(host)
    if outcome == "succeeded":
        assert state["current_system"] == state["profile"] != old
        return {}
    assert_on(fleet, host, old)
    etc = fleet.enter(host, f"readlink -f /etc/static; readlink -f {old}/etc").split()
    assert etc[0] == etc[1], "whose /etc"
    left = fleet.enter(host, "cd /run/nixos; find . -name '*-list' -size +0 -printf '%f\n'").split()
    assert [name for name in left if outcome == "rolled-back" or name not in reason] == []
    units = fleet.enter(host, f"cd {old}/etc/systemd/system && ls -d *.service").split()
    return {unit: fleet.enter(host, f"systemctl is-active {unit} || true").strip() for unit in units}


@pytest.mark.parametrize("host", CASES)
def test_the_outcome_is_what_is_so_on_the_host(fleet, told, host):
    units = expect_as_told(fleet, host, CASES[host], told[host])
    assert {unit for unit, state in units.items() if state != "active"} <= {"broken.service"}, units


def test_of_a_switch_that_ran_into_its_timeout_the_last_lines_are_told(told):
    assert "activating the configuration...\nactivation: waits for what never comes" in told["h7"][3]


@pytest.mark.parametrize("host", MORE)
def test_the_outcome_is_what_is_so_on_the_host_where_units_hold_the_switch_up(fleet, told_more, host):
    units = expect_as_told(fleet, host, MORE[host], told_more[host])
    down = [unit for unit, state in units.items() if state != "active"]
    told_of = [unit for unit in down if unit in told_more[host][2]]
    assert down == told_of and (not down or told_more[host][1] == "rollback-failed"), (units, told_more[host])


def test_after_a_switch_that_stopped_at_a_unit_the_next_release_can_be_switched_to(fleet, told_more):
    assert told_more["h8"][1] == "rolled-back"
    again = flake_of(fleet, "again", {"h8": {"units": app(4)}})
    assert deploy(fleet, again)[:2] == (0, {"h8": "succeeded"})


def test_a_lock_that_comes_free_in_time_is_waited_for_and_one_that_does_not_is_told(pair):
    good = flake_of(pair, "locked0", {"h1": {"units": app(1)}, "h2": {"units": app(1)}})
    assert deploy(pair, good)[0] == 0
    old = pair.host_state("h2")["current_system"]
    for host, seconds in (("h1", 6), ("h2", 60)):
        pair.enter(host, f"systemd-run -q --collect flock /run/nixos/switch-to-configuration.lock sleep {seconds}")
    code, ended, why = deploy(pair, flake_of(pair, "locked1", {"h1": {"units": app(2)}, "h2": {"units": app(2)}}))
    assert ended == {"h1": "succeeded", "h2": "failed-unchanged"}, why
    assert code == 3 and "lock" in why["h2"]
    assert_on(pair, "h2", old)
    pair.enter("h2", "pkill -x flock || true; pkill -x sleep || true")


def window(pair, name):
    """A release whose check fails, held in the window: what ran, what is new, and the run."""
    old = pair.host_state("h1")["current_system"]
    flake = flake_of(pair, name, {"h1": {"units": app(name)}},
                     health={**FAST, "deadline": "12s", "checks": {"never": {"command": ["false"], "interval": "1s"}}})
    new = pair.build(toplevel(flake, "h1"))
    run = Run(pair, "deploy", flake, "--yes")
    run.wait_stage("h1", "check")
    return old, new, run


def rebuild(pair, system):
    pair.enter("h1", f"nix-env -p /nix/var/nix/profiles/system --set {system} && {system}/bin/switch-to-configuration switch")


def test_a_release_that_somebody_else_commits_in_its_window_goes_back_whole(pair):
    assert deploy(pair, flake_of(pair, "hand0", {"h1": {"units": app(0)}}))[0] == 0
    old, new, run = window(pair, "hand1")
    rebuild(pair, new)
    assert pair.host_state("h1")["profile"] == new
    code, ended, why = run.finish()
    assert (code, ended) == (4, {"h1": "rolled-back"}), why
    assert_on(pair, "h1", old)


def test_a_host_that_somebody_else_switched_meanwhile_is_left_as_it_is_and_said(pair):
    assert deploy(pair, flake_of(pair, "third0", {"h1": {"units": app(0)}}))[0] == 0
    third = pair.host_state("h1")["current_system"]
    assert deploy(pair, flake_of(pair, "third1", {"h1": {"units": app(1)}}))[0] == 0
    _, _, run = window(pair, "third2")
    rebuild(pair, third)
    code, ended, why = run.finish()
    assert (code, ended) == (5, {"h1": "superseded"}), why
    assert third in why["h1"]
    assert_on(pair, "h1", third)
