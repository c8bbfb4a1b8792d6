"""Traps that other tools fell into, or that wait for whoever builds one (their list: tests/lint/traps).

One deployment to many hosts serves most of them: every host's release has a trouble of its own.
"""

import os
import time

import pytest
from harness import Lab, deploy_flake, flurry_binary, toplevel
from steps import Run, assert_on, deploy, outcomes, reasons, status, wait_for_outcome

HEALTH = {"minHealthy": "0s", "deadline": "4s"}
SHORT = {"confirmTimeout": "5s", "activationTimeout": "20s"}
GENERATIONS = "ls /nix/var/nix/profiles"
# nix-env that can do anything but --set
BREAK_SET = r"""ln -s /usr/bin/nix /usr/lib/nix-env; rm /usr/bin/nix-env
    { echo '#!/bin/sh'; echo 'case " $* " in *" --set "*) echo no such luck >&2; exit 1;; esac'
      echo 'exec /usr/lib/nix-env "$@"'; } > /usr/bin/nix-env
    chmod 755 /usr/bin/nix-env"""

FLAPS = {"minHealthy": "5s", "deadline": "8s",
         "checks": {"once": {"command": "[ ! -e /run/trap-17 ] && touch /run/trap-17", "interval": "500ms"}}}
SICK = {**HEALTH, "checks": {"never": {"command": ["false"]}}}

# host: what is wrong with its release, and its fields in the fleet
TROUBLES = {
    "h1": ({"fault": "unitFails"}, {}),
    "h2": ({"activation": "systemctl kill -s KILL flurry-agent.service"}, {}),
    "h3": ({"activation": "systemctl restart flurry-agent.service"}, {}),
    "h4": ({"activation": "systemctl stop flurry-agent.service"}, {}),
    "h5": ({}, {"health": FLAPS}),
    "h6": ({"activation": "systemctl stop ssh.socket ssh.service"}, {}),
    "h7": ({}, {"health": SICK, "autoRollback": False}),
    "h8": ({"fault": "cutsNetwork"}, {"autoRollback": False}),
    "h9": ({"preSwitchCheck": "rm -f /boot/minios/fail"}, {"health": {**HEALTH, "failedUnits": "ignore"}}),
}


def flake_of(lab, release, systems, health=HEALTH, hosts=None):
    """systems: {host: arguments of mkSystem}."""
    given = {host: {"release": release, **system} for host, system in systems.items()}
    return deploy_flake(lab.dir, given, health=health, flurry={"defaults": SHORT}, hosts=hosts, name=release)


def facts(lab, host):
    return {**lab.host_state(host), "generations": lab.enter(host, GENERATIONS)}


@pytest.fixture(scope="module")
def traps():
    with Lab("traps", hosts=9) as lab:
        yield lab


class Troubled:
    """What the one deployment to all hosts came to."""

    def __init__(self, lab):
        self.lab = lab
        # On h1 a unit had failed before.
        seen = {"health": {**HEALTH, "failedUnits": "ignore"}}
        assert deploy(lab, flake_of(lab, "before", {"h1": {"fault": "unitFails"}}, hosts={"h1": seen}))[0] == 0
        self.before = {host: lab.host_state(host) for host in TROUBLES}
        flake = flake_of(lab, "troubled", {host: system for host, (system, _) in TROUBLES.items()},
                         hosts={host: fields for host, (_, fields) in TROUBLES.items()})
        self.new = {host: lab.build(toplevel(flake, host)) for host in TROUBLES}
        # A login from before the deployment.
        with lab.popen("ssh", "h6", "cat", stdin=-1) as old:
            self.code, self.events = lab.flurry_json("deploy", flake, "--yes")
            self.said, _ = old.communicate("still here", timeout=20)
        self.ended, self.why = outcomes(self.events), reasons(self.events)

    def assert_back(self, host):
        assert self.ended[host] == "rolled-back", self.why[host]
        assert_on(self.lab, host, self.before[host]["current_system"])

    def assert_succeeded(self, host):
        assert self.ended[host] == "succeeded", self.why[host]
        assert_on(self.lab, host, self.new[host])


@pytest.fixture(scope="module")
def troubled(traps):
    return Troubled(traps)


@pytest.mark.trap(1)
def test_exit_4_for_a_unit_that_had_failed_before_is_no_failure(troubled):
    assert "broken.service" in troubled.before["h1"]["failed_units"]
    troubled.assert_succeeded("h1")


@pytest.mark.trap(5)
@pytest.mark.parametrize("host", ["h2", "h3", "h4"], ids=["killed", "restarted", "stopped"])
def test_an_agent_that_the_switch_itself_ends_picks_the_deployment_up_again(troubled, host):
    troubled.assert_succeeded(host)


@pytest.mark.trap(17)
def test_a_check_that_passes_once_and_then_fails_is_not_health(troubled):
    troubled.assert_back("h5")
    assert "once" in troubled.why["h5"]


@pytest.mark.trap(14)
def test_a_host_that_takes_no_new_connections_goes_back_though_the_old_ones_live(troubled):
    assert troubled.said == "still here"
    troubled.assert_back("h6")
    # Its sshd is a unit that was active and is not: that is seen before a confirmation is missed.
    assert "ssh.service" in troubled.why["h6"] or "new connection" in troubled.why["h6"]


@pytest.mark.trap(24)
def test_without_autorollback_an_unhealthy_release_stays_and_is_said_to_be_uncommitted(troubled):
    assert troubled.ended["h7"] == "rollback-failed" and troubled.code == 5
    assert "automatic rollback is off" in troubled.why["h7"]
    state = troubled.lab.host_state("h7")
    assert state["current_system"] == troubled.new["h7"]
    assert state["boot_default"] == state["profile"] == troubled.before["h7"]["current_system"]


@pytest.mark.trap(24)
def test_without_autorollback_a_release_that_cuts_the_host_off_goes_back_all_the_same(troubled):
    troubled.assert_back("h8")


@pytest.mark.trap(16)
def test_a_success_without_checks_says_that_it_rests_on_reachability_only(troubled):
    troubled.assert_succeeded("h9")
    ended = {e["host_ended"]["host"]: e["host_ended"]["health"] for e in troubled.events if "host_ended" in e}
    assert ended["h9"] == "reachability only"
    assert ended["h2"] == "no new failed units, reachability only"


# --- one by one ---------------------------------------------------------------------------------------------

@pytest.mark.trap(2, "p1")
def test_a_controller_that_is_killed_in_the_middle_of_a_switch_breaks_no_pipe_of_it(traps):
    before = traps.host_state("h1")["current_system"]
    noise = "i=0; while [ $i -lt 3000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done;"
    flake = flake_of(traps, "noisy", {"h1": {
        "activation": f"touch /run/trap-2-began; sleep 2; {noise} touch /run/trap-2-ended"}})
    run = Run(traps, "deploy", flake, "--yes")
    run.wait_stage("h1", "activate")
    traps.enter("h1", "for i in $(seq 200); do [ -e /run/trap-2-began ] && exit; sleep 0.1; done; exit 1")
    run.kill()
    wait_for_outcome(traps, flake, "h1", "rolled-back")
    assert traps.enter("h1", "ls /run/trap-2-ended").strip() == "/run/trap-2-ended"
    assert_on(traps, "h1", before)


@pytest.mark.trap(4, "p3")
def test_a_failure_after_an_unchanged_redeployment_goes_no_generation_too_far(traps):
    """On h2 the profile can't be set; h3 is unhealthy."""
    hosts = {"h2": {}, "h3": {}}
    settled = flake_of(traps, "settled", hosts)
    assert deploy(traps, settled)[1] == {"h2": "succeeded", "h3": "succeeded"}
    assert deploy(traps, settled)[1] == {"h2": "unchanged", "h3": "unchanged"}
    before = {host: facts(traps, host) for host in hosts}
    traps.enter("h2", BREAK_SET)
    code, ended, why = deploy(traps, flake_of(traps, "too-far", hosts, hosts={"h3": {"health": SICK}}))
    traps.enter("h2", "ln -sf nix /usr/bin/nix-env; rm /usr/lib/nix-env")
    assert (code, ended) == (4, {"h2": "rolled-back", "h3": "rolled-back"}), why
    assert "set the profile" in why["h2"]
    for host in hosts:
        assert facts(traps, host) == before[host]


@pytest.mark.trap(8)
def test_a_reboot_into_yet_another_generation_ends_on_the_recorded_system(traps):
    """Somebody picks an older entry of the boot menu."""
    older = traps.host_state("h4")["current_system"]
    assert deploy(traps, flake_of(traps, "recorded", {"h4": {}}))[0] == 0
    before = traps.host_state("h4")["current_system"]
    flake = flake_of(traps, "menu", {"h4": {}}, health={"minHealthy": "10s", "deadline": "15s"})
    run = Run(traps, "deploy", flake, "--yes")
    run.wait_stage("h4", "check")
    traps.enter("h4", f"echo {older} > /boot/minios/default; sync")
    traps.power_cut("h4")
    code, ended, why = run.finish()
    assert (code, ended) == (4, {"h4": "rolled-back"}), why
    assert traps.host_state("h4")["current_system"] == before
    traps.enter("h4", f"echo {before} > /boot/minios/default; sync")


@pytest.mark.trap(11)
def test_a_garbage_collection_in_the_middle_takes_nothing_that_a_rollback_needs(traps):
    """What ran on h5 was tested by hand: no profile names it, and while the new release runs, nothing else does."""
    by_hand = flake_of(traps, "by-hand", {"h5": {"files": {"note": "only by hand"}}})
    assert deploy(traps, by_hand, "--goal", "test")[0] == 0
    before = facts(traps, "h5")
    held = {"minHealthy": "40s", "deadline": "40s"}
    run = Run(traps, "deploy", flake_of(traps, "collects", {"h5": {}}, health=held), "--yes")
    run.wait_stage("h5", "check")
    traps.enter("h5", "nix-collect-garbage -d; systemctl kill -s KILL --kill-whom=main flurry-agent.service", timeout=60)
    code, ended, why = run.finish()
    assert (code, ended) == (4, {"h5": "rolled-back"}), why
    after = facts(traps, "h5")
    assert after["current_system"] == before["current_system"] and after["profile"] == before["profile"]
    assert traps.enter("h5", "cat /etc/minios/note") == "only by hand"


@pytest.mark.trap(12)
def test_a_boot_loader_that_fails_where_nothing_is_switched_is_a_failure_with_nothing_changed(traps, troubled):
    """A /boot that is full for a moment."""
    before = facts(traps, "h9")
    full = flake_of(traps, "full", {"h9": {"preSwitchCheck":
        "touch /boot/minios/fail; systemd-run -q --collect sh -c 'sleep 4; rm -f /boot/minios/fail'"}})
    code, ended, why = deploy(traps, full, "--goal", "boot")
    assert (code, ended) == (3, {"h9": "failed-unchanged"}), why
    assert "boot default" in why["h9"]
    assert facts(traps, "h9") == before


@pytest.mark.trap(7, 15)
def test_a_release_that_only_a_reboot_can_bring_is_refused_untouched_and_taken_with_goal_boot(traps):
    """h1's init interface changes (exit 100), h6 has an inhibitor (exit 1)."""
    systems = {"h1": {"fault": "initInterfaceChanges"}, "h6": {"preSwitchCheck": '[ "$2" = boot ] || exit 1'}}
    before = {host: facts(traps, host) for host in systems}
    flake = flake_of(traps, "reboots", systems)
    code, ended, why = deploy(traps, flake)
    assert (code, ended) == (3, {"h1": "failed-unchanged", "h6": "failed-unchanged"}), why
    assert "--goal boot" in why["h1"]
    for host in systems:
        assert facts(traps, host) == before[host]
    assert deploy(traps, flake, "--goal", "boot")[:2] == (0, {"h1": "staged", "h6": "staged"})
    for host in systems:
        traps.power_cut(host)
    for host in systems:
        traps.wait(host)
        assert_on(traps, host, traps.build(toplevel(flake, host)))
    assert deploy(traps, flake)[:2] == (0, {"h1": "unchanged", "h6": "unchanged"})


@pytest.mark.trap("p2", "p4")
def test_a_release_whose_confirmation_never_came_can_be_deployed_again(traps):
    before = traps.host_state("h8")["current_system"]
    flake = flake_of(traps, "again", {"h8": {}}, health={"minHealthy": "2s", "deadline": "6s"})
    run = Run(traps, "deploy", flake, "--yes")
    run.wait_stage("h8", "check")
    traps.freeze("h8", "sshd")
    end = time.monotonic() + 60
    while traps.host_state("h8")["current_system"] != before:
        assert time.monotonic() < end, "nobody rolled the host back"
        time.sleep(0.5)
    traps.thaw("h8", "sshd")
    code, ended, why = run.finish()
    assert (code, ended) == (4, {"h8": "rolled-back"}), why
    assert deploy(traps, flake)[:2] == (0, {"h8": "succeeded"})


@pytest.mark.trap(22)
def test_an_older_agent_on_the_host_makes_room_for_the_controllers_own(traps):
    """And back again: the controller of the older release deploys after the newer one."""
    other = os.path.join(traps.dir, "flurry-agent")
    with open(os.path.join(os.path.dirname(flurry_binary()), "flurry-agent"), "rb") as ours, open(other, "wb") as out:
        out.write(ours.read() + b"\0")      # the same program with another hash
    os.chmod(other, 0o755)
    agents = []
    flake = flake_of(traps, "any-agent", {"h7": {}})
    for env, goal in (({"FLURRY_AGENT": other}, "push"), ({}, "push"), ({"FLURRY_AGENT": other}, "switch")):
        code, out, err = traps.flurry("deploy", flake, "--yes", "--goal", goal, env=env)
        assert code == 0, out + err
        agents.append(traps.enter("h7", "sha256sum < /proc/$(systemctl show -P MainPID flurry-agent)/exe"))
    assert agents[0] == agents[2] != agents[1]
    assert status(traps, flake, "h7")["last"]["outcome"] == "succeeded"


@pytest.mark.trap(18, 19, 20)
@pytest.mark.parametrize("output, said", [
    ({"hosts": {"h1": {"secrets": {"tls": "tls.age"}}}}, "h1.secrets: unknown field"),
    ({"rollout": {"maxFailures": 1}}, "flurry.rollout.maxFailures: is not supported yet"),
    ({"rollout": {"canary": "@canary"}}, "no host has the tag 'canary'"),
], ids=["secrets", "failure-budget", "canary-that-matches-nobody"])
def test_what_this_version_cannot_promise_is_refused_before_any_host_is_asked(traps, output, said):
    logins = "journalctl -q -u ssh | grep -c Accepted || true"
    before = traps.enter("h1", logins)
    flake = deploy_flake(traps.dir, {"h1": {"release": "refused"}}, health=HEALTH, hosts=output.get("hosts"),
                         flurry={"rollout": output.get("rollout", {})}, name="refused")
    code, events = traps.flurry_json("deploy", flake, "--yes")
    assert code == 1
    told = [e["failure"]["message"] for e in events if "failure" in e]
    told += [e["host_ended"]["reason"] for e in events if "host_ended" in e]
    assert said in told[0]
    assert traps.enter("h1", logins) == before


@pytest.mark.trap("p5")
def test_a_dry_run_tells_of_every_host_though_one_is_dead(traps):
    traps.power_cut("h9", off=True)
    flake = flake_of(traps, "dry", {host: {} for host in ("h2", "h3", "h9")})
    code, ended, why = deploy(traps, flake, "--goal", "dry-activate")
    assert (code, ended) == (3, {"h2": "staged", "h3": "staged", "h9": "failed-unchanged"}), why
