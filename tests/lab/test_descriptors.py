"""Descriptors run out, with the controller or with a host's agent: it is said, what is told is true, and nothing hangs."""

import json

import pytest
from harness import Lab, deploy_flake, flurry_binary, toplevel
from steps import FAST, Run, assert_on, deploy, outcomes, reasons, status

HOSTS = [f"h{n}" for n in range(1, 6)]
WORDS = "Too many open files"
FAILING = {"minHealthy": "1s", "deadline": "6s", "checks": {"never": {"command": ["false"], "interval": "500ms"}}}


@pytest.fixture(scope="module")
def lab():
    with Lab("few", hosts=len(HOSTS)) as lab:
        code, _, why = deploy(lab, flake_of(lab, "first"))
        assert code == 0, why
        yield lab


def flake_of(lab, release, health=FAST):
    return deploy_flake(lab.dir, {host: {"release": release} for host in HOSTS}, health=health, name=release)


def limit_agent(lab, limit):
    """How many files the agent of h1 may have open from now on."""
    lab.enter("h1", f"prlimit --nofile={limit}:20000 --pid $(systemctl show -P MainPID flurry-agent)")


@pytest.mark.parametrize("limit", [64, 32, 20])
def test_a_controller_with_few_descriptors_says_so_and_tells_what_is_true(lab, limit):
    flake = flake_of(lab, f"few-{limit}")
    before = {host: lab.host_state(host)["current_system"] for host in HOSTS}
    code, out, err = lab.run("sh", "-c", f"ulimit -n {limit}; exec {flurry_binary()} deploy {flake} --yes --output json", timeout=120)
    events = [json.loads(line) for line in out.splitlines()]
    ended, why = outcomes(events), reasons(events)
    assert set(ended) == set(HOSTS), err
    for host in HOSTS:
        assert_on(lab, host, lab.build(toplevel(flake, host)) if ended[host] == "succeeded" else before[host])
        assert ended[host] == "succeeded" or (ended[host] == "failed-unchanged" and WORDS in why[host]), why
    failed = [host for host in HOSTS if ended[host] != "succeeded"]
    # Whichever step meets the limit: evaluation and building are 2.
    assert code in ((2, 3) if failed else (0,))
    assert {64: not failed, 20: len(failed) == len(HOSTS)}.get(limit, True), ended


def test_an_agent_without_descriptors_begins_nothing(lab):
    flake = flake_of(lab, "starved")
    before = lab.host_state("h1")["current_system"]
    assert status(lab, flake, "h1")["last"]["outcome"] == "succeeded"
    limit_agent(lab, 14)
    code, ended, why = deploy(lab, flake, "--on", "h1")
    limit_agent(lab, 4096)
    assert (code, ended) == (3, {"h1": "failed-unchanged"}) and WORDS in why["h1"], why
    assert_on(lab, "h1", before)
    assert deploy(lab, flake, "--on", "h1")[:2] == (0, {"h1": "succeeded"})


def test_a_host_whose_agent_runs_out_of_descriptors_in_the_window_goes_back(lab):
    flake = flake_of(lab, "window", health=FAILING)
    before = lab.host_state("h1")["current_system"]
    run = Run(lab, "deploy", flake, "--on", "h1", "--yes")
    run.wait_stage("h1", "check")
    limit_agent(lab, 11)
    code, ended, why = run.finish(240)
    assert (code, ended) == (4, {"h1": "rolled-back"}), why
    assert_on(lab, "h1", before)
    assert status(lab, flake, "h1")["last"]["outcome"] == "rolled-back"
