"""What came before us: whoever made the system that runs, a rollback brings back exactly that."""

import concurrent.futures

import pytest
from harness import Lab, deploy_flake, toplevel
from steps import Run, assert_on, deploy, status

HEALTH = {"minHealthy": "0s", "deadline": "3s"}
SHORT = {"confirmTimeout": "5s", "activationTimeout": "20s"}
SICK = {**HEALTH, "checks": {"never": {"command": ["false"]}}}
NO_BOOT = '[ "$2" != boot ] || exit 1'   # a release that runs, and that no boot loader takes
PROFILE = "/nix/var/nix/profiles/system"
GENERATIONS = "cd /nix/var/nix/profiles; for g in system-*-link; do [ ! -L $g ] || echo $g $(readlink $g); done"

# deploy-rs sets the profile to a closure around the system, and leaves a file behind when nobody confirms.
DEPLOY_RS = f"""
    d=$(mktemp -d)/activatable-nixos-system; mkdir -p $d
    ln -s $1/* $d/; rm $d/bin; mkdir $d/bin; ln -s $1/bin/* $d/bin/
    printf '#!/bin/sh\\n$PROFILE/bin/switch-to-configuration switch\\n' > $d/deploy-rs-activate
    chmod 755 $d/deploy-rs-activate
    nix-env -p {PROFILE} --set $(nix-store --add $d); PROFILE={PROFILE} {PROFILE}/deploy-rs-activate
    touch /tmp/deploy-rs-canary-$(basename $1 | cut -d- -f1)
"""
# How each host came to run $1; $2 is another release.
MAKERS = {
    "h1": ("nixos-rebuild", f"nix-env -p {PROFILE} --set $1; $1/bin/switch-to-configuration switch"),
    "h2": ("deploy-rs", DEPLOY_RS),
    "h3": ("colmena", f"nix-env --profile {PROFILE} --set $1; $1/bin/switch-to-configuration switch"),
    "h4": ("an-older-generation", f"""
        nix-env -p {PROFILE} --set $1; nix-env -p {PROFILE} --set $2; nix-env -p {PROFILE} --rollback
        $1/bin/switch-to-configuration switch"""),
    "h5": ("a-test-by-hand", "$1/bin/switch-to-configuration test"),
    "h6": ("another-that-waits-for-a-reboot", f"""
        nix-env -p {PROFILE} --set $2; $2/bin/switch-to-configuration boot; $1/bin/switch-to-configuration test"""),
}
HOSTS = list(MAKERS)
on_each_host = pytest.mark.parametrize("host", HOSTS, ids=lambda host: MAKERS[host][0])


def flake_of(lab, release, hosts=HOSTS, health=HEALTH, **given):
    return deploy_flake(lab.dir, {host: {"release": release, **given} for host in hosts}, health=health,
                        flurry={"defaults": SHORT}, name=release)


def facts(lab, host):
    state = lab.host_state(host)
    kept = {key: state[key] for key in ("current_system", "profile", "generation", "boot_default")}
    return {**kept, "generations": lab.enter(host, GENERATIONS)}


def stages(events, host):
    return {e["host_stage"]["stage"] for e in events if e.get("host_stage", {}).get("host") == host}


def push(lab, release):
    """{host: a system that lies in its store}"""
    code, events = lab.flurry_json("deploy", flake_of(lab, release), "--yes", "--goal", "push")
    assert code == 0, events
    return {e["host_ended"]["host"]: e["host_ended"]["to_path"] for e in events if "host_ended" in e}


@pytest.fixture(scope="module")
def made():
    """(lab, what is true of each host): each made by another hand than ours."""
    with Lab("previous", hosts=6, trixie=1, forky=1) as lab:
        systems = [push(lab, release) for release in ("by-hand", "by-hand-2")]

        def make(host):
            lab.enter(host, f"set -- {systems[0][host]} {systems[1][host]}; set -e; {MAKERS[host][1]}")

        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(make, HOSTS))
        yield lab, {host: facts(lab, host) for host in HOSTS}


@pytest.fixture(scope="module")
def unhealthy(made):
    return deploy(made[0], flake_of(made[0], "unhealthy", health=SICK))


@pytest.fixture(scope="module")
def uncommitted(made, unhealthy):
    return deploy(made[0], flake_of(made[0], "uncommitted", preSwitchCheck=NO_BOOT))


@on_each_host
@pytest.mark.trap(3)
def test_an_unhealthy_release_gives_way_to_exactly_what_ran(made, unhealthy, host):
    lab, before = made
    _, ended, why = unhealthy
    assert ended[host] == "rolled-back", why[host]
    assert facts(lab, host) == before[host]


@on_each_host
@pytest.mark.trap(3)
def test_a_release_that_could_not_be_committed_leaves_profile_and_boot_default_as_they_were(made, uncommitted, host):
    lab, before = made
    _, ended, why = uncommitted
    assert ended[host] == "rolled-back" and "boot default" in why[host], why[host]
    assert facts(lab, host) == before[host]


def test_a_power_cut_brings_back_what_ran_even_where_the_boot_default_was_another(made, uncommitted):
    lab, before = made
    flake = flake_of(lab, "lost", ["h5", "h6"], health={"minHealthy": "10s", "deadline": "15s"})
    run = Run(lab, "deploy", flake, "--yes")
    run.wait_stage_of_all(["h5", "h6"], "check")
    for host in ("h5", "h6"):
        lab.power_cut(host)
    code, ended, why = run.finish()
    assert (code, ended) == (4, {"h5": "rolled-back", "h6": "rolled-back"}), why
    for host in ("h5", "h6"):
        assert facts(lab, host) == before[host]


def test_flurry_rollback_never_goes_to_a_release_that_was_not_committed(made, uncommitted):
    lab, before = made
    flake = flake_of(lab, "good", ["h1"])
    assert deploy(lab, flake)[:2] == (0, {"h1": "succeeded"})
    code, _, err = lab.flurry("rollback", flake, "--on", "h1", "--yes")
    assert code == 0, err
    assert_on(lab, "h1", before["h1"]["current_system"])


# --- nothing came before ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def bare():
    with Lab("bare", hosts=3, bare=True) as lab:
        yield lab


@pytest.mark.trap(23)
def test_a_first_deployment_is_refused_before_anything_is_built_or_copied(bare):
    flake = flake_of(bare, "first", ["h1"])
    code, events = bare.flurry_json("deploy", flake, "--yes")
    assert code == 3
    ended = [e["host_ended"] for e in events if "host_ended" in e][0]
    assert (ended["outcome"], ended["stage"]) == ("failed-unchanged", "preflight")
    assert "--allow-no-rollback" in ended["reason"]
    assert not stages(events, "h1") & {"build", "copy", "activate"}


@pytest.mark.trap(23)
def test_a_first_deployment_that_is_bad_is_never_called_rolled_back(bare):
    before = facts(bare, "h2")
    hosts = {"h2": {"release": "sick"}, "h3": {"release": "sick", "preSwitchCheck": NO_BOOT}}
    flake = deploy_flake(bare.dir, hosts, health=HEALTH, flurry={"defaults": SHORT}, hosts={"h2": {"health": SICK}},
                         name="sick")
    code, ended, why = deploy(bare, flake, "--allow-no-rollback")
    assert (code, ended) == (5, {"h2": "rollback-failed", "h3": "rollback-failed"}), why
    for host in ("h2", "h3"):
        assert "no system was recorded to go back to" in why[host]
        after = facts(bare, host)
        assert after.pop("current_system") == bare.build(toplevel(flake, host))
        assert after == {key: before[key] for key in after}


def test_after_a_power_cut_in_a_first_deployment_the_release_is_not_committed_and_its_files_are_told(bare):
    before = facts(bare, "h1")
    flake = flake_of(bare, "first-lost", ["h1"], health={"minHealthy": "10s", "deadline": "15s"})
    run = Run(bare, "deploy", flake, "--yes", "--allow-no-rollback")
    run.wait_stage("h1", "check")
    bare.power_cut("h1")
    code, ended, why = run.finish()
    # /etc/static lies on the disk and names the release, so what boots has its units: nothing brings that back.
    assert (code, ended) == (5, {"h1": "rollback-failed"}), why
    assert "/etc is not the recorded system's" in why["h1"] and "no system was recorded to go back to" in why["h1"]
    assert facts(bare, "h1") == before
    assert status(bare, flake, "h1")["last"]["outcome"] == "rollback-failed"


def test_a_first_deployment_that_is_good_is_committed(bare):
    flake = flake_of(bare, "first-good", ["h1"])
    assert deploy(bare, flake, "--allow-no-rollback")[:2] == (0, {"h1": "succeeded"})
    assert_on(bare, "h1", bare.build(toplevel(flake, "h1")))
