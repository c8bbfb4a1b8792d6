"""Something dies in the middle: the host ends on a system that somebody can explain, and flurry tells it truly."""

import signal
import time

import pytest
from harness import deploy_flake, toplevel
from steps import Run, assert_on, deploy, status, wait_for_outcome

# Long enough that a test can strike while the new system runs unconfirmed.
SLOW_HEALTH = {"minHealthy": "4s", "deadline": "20s"}
SHORT = {"confirmTimeout": "6s", "activationTimeout": "30s"}


def flake_of(lab, release, hosts, health=None, **systems):
    return deploy_flake(lab.dir, {host: {"release": release, **systems.get(host, {})} for host in hosts},
                        health=health or SLOW_HEALTH, flurry={"defaults": SHORT})


def wait_until(holds, otherwise, timeout=20):
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.2)


@pytest.fixture(autouse=True)
def reachable(pair):
    for host in ("h1", "h2"):
        pair.wait(host)


def test_a_killed_controller_leaves_no_unconfirmed_system(pair):
    before = pair.host_state("h1")["current_system"]
    flake = flake_of(pair, "orphan", ["h1"])
    run = Run(pair, "deploy", flake, "--yes")
    run.wait_stage("h1", "check")
    run.kill()
    assert pair.host_state("h1")["current_system"] != before
    told = wait_for_outcome(pair, flake, "h1", "rolled-back")
    assert "confirmation" in told["last"]["reason"]
    assert_on(pair, "h1", before)


def test_a_killed_agent_leaves_no_unconfirmed_system(pair):
    before = pair.host_state("h1")["current_system"]
    run = Run(pair, "deploy", flake_of(pair, "agent-dies", ["h1"]), "--yes")
    run.wait_stage("h1", "check")
    pair.enter("h1", "systemctl kill -s KILL --kill-whom=main flurry-agent.service")
    code, ended, why = run.finish()
    assert (code, ended) == (4, {"h1": "rolled-back"}), why
    assert "killed" in why["h1"]
    assert_on(pair, "h1", before)


def test_what_a_killed_agent_has_started_dies_with_it(pair):
    checks = {"slow": {"command": ["sleep", "3210"], "timeout": "300s"}}
    run = Run(pair, "deploy", flake_of(pair, "orphans", ["h1"], health={**SLOW_HEALTH, "checks": checks}), "--yes")
    run.wait_stage("h1", "check")
    wait_until(lambda: pair.enter("h1", "pgrep -fx 'sleep 3210' || true"), "the check never ran")
    pair.enter("h1", "systemctl kill -s KILL --kill-whom=main flurry-agent.service")
    assert run.finish()[1] == {"h1": "rolled-back"}
    assert pair.enter("h1", "pgrep -fx 'sleep 3210' || true") == ""


def test_a_frozen_agent_is_replaced_by_the_deadman(pair):
    before = pair.host_state("h1")["current_system"]
    flake = flake_of(pair, "agent-freezes", ["h1"])
    run = Run(pair, "deploy", flake, "--yes")
    run.wait_stage("h1", "check")
    pair.enter("h1", "systemctl kill -s STOP --kill-whom=main flurry-agent.service")
    run.kill()
    end = time.monotonic() + 60
    while pair.host_state("h1")["current_system"] != before:
        assert time.monotonic() < end, "nobody rolled the host back"
        time.sleep(1)
    told = wait_for_outcome(pair, flake, "h1", "rolled-back")["last"]
    assert "stuck" in told["reason"] and "killed" not in told["reason"], told
    assert_on(pair, "h1", before)


@pytest.mark.trap("p7")
@pytest.mark.parametrize("strike", ["reboot", "power_cut"])
def test_a_host_that_restarts_before_the_confirmation_boots_the_old_system(pair, strike):
    before = pair.host_state("h2")["current_system"]
    flake = flake_of(pair, f"lost-{strike}", ["h2"])
    run = Run(pair, "deploy", flake, "--yes")
    run.wait_stage("h2", "check")
    getattr(pair, strike)("h2")
    code, ended, why = run.finish()
    assert (code, ended) == (4, {"h2": "rolled-back"}), why
    assert "reboot" in why["h2"]
    assert_on(pair, "h2", before)
    assert status(pair, flake, "h2")["last"]["outcome"] == "rolled-back"


def test_flurry_status_alone_tells_what_a_power_cut_did(pair):
    before = pair.host_state("h2")["current_system"]
    flake = flake_of(pair, "lost-alone", ["h2"])
    run = Run(pair, "deploy", flake, "--yes")
    run.wait_stage("h2", "check")
    run.kill()
    pair.power_cut("h2")
    assert status(pair, flake, "h2")["last"]["outcome"] == "rolled-back"
    assert_on(pair, "h2", before)


def test_a_power_cut_after_the_commit_boots_the_new_system(pair):
    flake = flake_of(pair, "stays", ["h2"], health={"minHealthy": "1s", "deadline": "10s"})
    assert deploy(pair, flake)[0] == 0
    pair.power_cut("h2")
    assert_on(pair, "h2", pair.build(toplevel(flake, "h2")))


def test_a_link_that_is_cut_for_a_moment_changes_nothing(pair):
    flake = flake_of(pair, "blink", ["h1"], health={"minHealthy": "6s", "deadline": "30s"})
    run = Run(pair, "deploy", flake, "--yes")
    run.wait_stage("h1", "check")
    pair.cut("h1")
    time.sleep(2)
    pair.heal("h1")
    code, ended, why = run.finish()
    assert (code, ended) == (0, {"h1": "succeeded"}), why


@pytest.mark.trap(13)
def test_a_host_that_stays_away_is_unknown_and_goes_back_by_itself(pair):
    before = pair.host_state("h1")["current_system"]
    flake = deploy_flake(pair.dir, {"h1": {"release": "gone"}}, health={"minHealthy": "2s", "deadline": "5s"},
                         flurry={"defaults": {"confirmTimeout": "5s", "activationTimeout": "5s"}}, name="gone")
    run = Run(pair, "deploy", flake, "--yes")
    run.wait_stage("h1", "check")
    pair.cut("h1")
    code, ended, why = run.finish(timeout=180)
    assert (code, ended) == (5, {"h1": "unknown"}), why
    assert pair.host_state("h1")["current_system"] == before
    pair.heal("h1")
    pair.wait("h1")
    assert status(pair, flake, "h1")["last"]["outcome"] == "rolled-back"


@pytest.mark.trap(10, "p8")
def test_a_second_controller_is_refused_while_the_first_holds_the_host(pair):
    flake = flake_of(pair, "first", ["h1"])
    run = Run(pair, "deploy", flake, "--yes")
    run.wait_stage("h1", "check")
    other = deploy_flake(pair.dir, {"h1": {"release": "second"}}, health=SLOW_HEALTH, name="other")
    code, ended, why = deploy(pair, other)
    assert (code, ended) == (3, {"h1": "failed-unchanged"})
    assert "another deployment holds the host" in why["h1"]
    assert run.finish()[:2] == (0, {"h1": "succeeded"})


def test_the_first_ctrl_c_lets_a_running_activation_reach_its_outcome(pair):
    run = Run(pair, "deploy", flake_of(pair, "ctrl-c", ["h1"]), "--yes")
    run.wait_stage("h1", "check")
    run.process.send_signal(signal.SIGINT)
    code, ended, _ = run.finish()
    assert (code, ended) == (0, {"h1": "succeeded"})


def test_the_second_ctrl_c_detaches_and_the_host_goes_back(pair):
    before = pair.host_state("h1")["current_system"]
    flake = flake_of(pair, "ctrl-c-twice", ["h1"])
    run = Run(pair, "deploy", flake, "--yes")
    run.wait_stage("h1", "check")
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    run.process.send_signal(signal.SIGINT)
    code, ended, _ = run.finish(timeout=10)
    assert (code, ended) == (5, {"h1": "unknown"})
    wait_for_outcome(pair, flake, "h1", "rolled-back")
    assert_on(pair, "h1", before)


@pytest.mark.trap(12)
def test_a_boot_loader_that_fails_is_a_rollback_of_all(pair):
    before = pair.host_state("h1")
    pair.enter("h1", "mkdir -p /boot/minios; touch /boot/minios/fail")
    code, ended, why = deploy(pair, flake_of(pair, "no-boot", ["h1"]))
    pair.enter("h1", "rm /boot/minios/fail")
    assert code in (4, 5), why
    state = pair.host_state("h1")
    assert (state["current_system"], state["profile"]) == (before["current_system"], before["profile"])
    assert ended["h1"] in ("rolled-back", "rollback-failed") and "boot default" in why["h1"]
