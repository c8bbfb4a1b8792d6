"""Nix 2.8 (Debian 12), 2.26 (Debian 13) and 2.34 (Debian testing): each on the controller, with hosts of all three.

All that reads Nix's output, its settings or its protocol is tried with each: here on real hosts, and by the unit tests of
these parts, which start the Nix that they find."""

import json
import os

import pytest
from harness import Lab, deploy_flake, flurry_binary, toplevel
from steps import FAST, assert_on, deploy, status

HOSTS = {"h1": "2.8", "h2": "2.26", "h3": "2.34"}
ALL = set(HOSTS)
CONTROLLERS = {"2.8": "", "2.26": "trixie", "2.34": "forky"}    # {Nix: suite}; "": this machine
READS_NIX = ("nix_test", "eval_test")


@pytest.fixture(scope="module", params=CONTROLLERS, ids=lambda nix: f"controller-{nix}")
def nix(request):
    return request.param


@pytest.fixture(scope="module")
def lab(nix):
    with Lab(f"versions{nix.replace('.', '')}", hosts=3, trixie=1, forky=1, controller=CONTROLLERS[nix]) as lab:
        assert lab.run("nix", "--version", check=True)[1].startswith(f"nix (Nix) {nix}.")
        for host, version in HOSTS.items():
            assert lab.ssh(host, "nix --version").startswith(f"nix (Nix) {version}.")
        yield lab


def flake_of(lab, release, **given):
    return deploy_flake(lab.dir, {host: {"release": release, **given.get(host, {})} for host in HOSTS}, health=FAST,
                        name=release)


def only(ended, outcome):
    return {host for host, how in ended.items() if how == outcome}


def test_a_release_is_deployed_and_known_again(lab):
    flake = flake_of(lab, "good")
    code, ended, why = deploy(lab, flake)
    assert (code, only(ended, "succeeded")) == (0, ALL), why
    for host in HOSTS:
        assert_on(lab, host, lab.build(toplevel(flake, host)))
        assert lab.enter(host, "nix-store --verify --check-contents && echo sound").endswith("sound\n")
    code, ended, why = deploy(lab, flake)
    assert (code, only(ended, "unchanged")) == (0, ALL), why


def test_a_bad_release_goes_back(lab):
    before = {host: lab.host_state(host)["current_system"] for host in HOSTS}
    flake = deploy_flake(lab.dir, {host: {"release": "bad", "fault": "unitFails"} for host in HOSTS},
                         health={"minHealthy": "1s", "deadline": "5s"}, name="bad")
    code, ended, why = deploy(lab, flake)
    assert (code, only(ended, "rolled-back")) == (4, ALL), why
    assert {host: lab.host_state(host)["current_system"] for host in HOSTS} == before


def test_an_evaluation_error_is_its_hosts_own(lab):
    code, ended, why = deploy(lab, flake_of(lab, "unevaluated", h1={"fault": "thisFaultIsNotThere"}), "--goal", "build")
    assert (code, only(ended, "failed-unchanged"), only(ended, "staged")) == (2, {"h1"}, ALL - {"h1"}), why
    assert "thisFaultIsNotThere" in why["h1"], why


def test_a_failing_build_is_its_hosts_own_and_the_end_of_its_log_is_told(lab):
    code, ended, why = deploy(lab, flake_of(lab, "unbuilt", h2={"files": {"no/such/folder": "x"}}), "--goal", "build")
    assert (code, only(ended, "failed-unchanged"), only(ended, "staged")) == (2, {"h2"}, ALL - {"h2"}), why
    assert "nix log /nix/store/" in why["h2"] and "no/such" in why["h2"], why


def test_eval_gives_what_nix_gives(lab):
    flake = flake_of(lab, "evaluated")
    for _ in range(2):          # the second answer is remembered
        code, events = lab.flurry_json("eval", flake)
        told = [e["host_evaluated"] for e in events if "host_evaluated" in e]
        assert code == 0 and {e["host"]: (e["profiles"][0]["drv"], e["profiles"][0]["out"]) for e in told} == {
            host: tuple(lab.run("nix", "eval", "--raw", f"{toplevel(flake, host)}.{what}", check=True)[1]
                        for what in ("drvPath", "outPath")) for host in HOSTS}, events


def test_a_plan_is_what_the_copy_then_takes_and_status_tells_what_runs(lab):
    flake = flake_of(lab, "planned")
    code, events = lab.flurry_json("plan", flake)
    planned = {e["host_planned"]["host"]: e["host_planned"]["missing_paths"] for e in events if "host_planned" in e}
    assert code == 0 and set(planned) == ALL, events
    assert {status(lab, flake, host)["drift"] for host in HOSTS} == {"drifted"}
    code, events = lab.flurry_json("deploy", flake, "--yes")
    copied = {e["host_copied"]["host"]: e["host_copied"]["copied_paths"] for e in events if "host_copied" in e}
    assert (code, copied) == (0, planned), events
    for host in HOSTS:
        told = status(lab, flake, host)
        system = lab.build(toplevel(flake, host))
        assert (told["running"], told["profile"], told["drift"]) == (system, system, "in-sync"), told


def test_hosts_build_for_themselves_and_say_what_failed(lab):
    flake = deploy_flake(lab.dir, {**{host: {"release": "own"} for host in HOSTS},
                                   "h3": {"release": "own", "files": {"no/such/folder": "x"}}},
                         health=FAST, flurry={"defaults": {"buildOn": "target"}}, name="own")
    code, ended, why = deploy(lab, flake)
    assert (code, only(ended, "succeeded"), only(ended, "failed-unchanged")) == (2, ALL - {"h3"}, {"h3"}), why
    assert "nix log /nix/store/" in why["h3"] and "no/such" in why["h3"], why


@pytest.mark.parametrize("program", READS_NIX)
def test_what_reads_nix_reads_this_one(lab, program):
    binary = os.path.join(os.path.dirname(flurry_binary()), program)
    report = os.path.join(lab.dir, f"{program}.json")
    code, out, err = lab.run(binary, "--gtest_brief=1", f"--gtest_output=json:{report}", timeout=500)
    assert code == 0, (out + err)[-4000:]
    with open(report) as told:
        tests = [test for suite in json.load(told)["testsuites"] for test in suite["testsuite"]]
    skipped = [test["name"] for test in tests if test["result"] == "SKIPPED"]
    assert len(tests) > 20 and not skipped, skipped
