"""Builds: on the controller and on the hosts themselves, with an old and a newer Nix."""

import os

import pytest
from harness import Expr, Lab, deploy_flake
from steps import FAST, deploy


@pytest.fixture(scope="module")
def both():
    """One host with Nix 2.8, one with 2.34."""
    with Lab("both", hosts=2, forky=1) as lab:
        yield lab


def systems(release, **more):
    return {host: {"release": release, **more} for host in ("h1", "h2")}


def is_here(lab, path):
    return lab.run("nix-store", "--check-validity", path)[0] == 0


def test_a_host_builds_its_own_system_where_the_flake_says_so(both):
    flake = deploy_flake(both.dir, systems("there"), health=FAST, flurry={"defaults": {"buildOn": "target"}})
    code, ended, why = deploy(both, flake)
    assert (code, ended) == (0, {"h1": "succeeded", "h2": "succeeded"}), why
    for host in ("h1", "h2"):
        system = both.host_state(host)["current_system"]
        assert f"nixos-system-{host}-there" in system
        assert not is_here(both, system), "it was built on the controller"
        assert both.enter(host, "nix-store --verify-path $(readlink /run/current-system) && echo good") == "good\n"


def test_a_build_that_fails_on_a_host_says_which_derivation_failed_and_the_end_of_its_log(both):
    bad = Expr("""{ files.x = "x"; units.x.exec = "${derivation { name = "sick"; system = "x86_64-linux";
        builder = "/bin/sh"; args = [ "-c" "echo about to fail; exit 7" ]; }}"; }""")
    flake = deploy_flake(both.dir, {"h1": {"release": "sick", "with'": bad}, "h2": {"release": "well"}}, health=FAST,
                         flurry={"defaults": {"buildOn": "target"}})
    before = both.host_state("h1")
    code, ended, why = deploy(both, flake)
    assert (code, ended) == (2, {"h1": "failed-unchanged", "h2": "succeeded"}), why
    for words in ("build on the host", "dependency sick failed", "exit code 7", "about to fail", "nix log /nix/store/"):
        assert words in why["h1"], why["h1"]
    assert both.host_state("h1") == before


def test_what_is_copied_carries_the_signature_of_the_key_that_was_given(both):
    secret, public = os.path.join(both.dir, "secret"), os.path.join(both.dir, "public")
    both.run("nix-store", "--generate-binary-cache-key", "fleet-1", secret, public, check=True)
    flake = deploy_flake(both.dir, systems("signed"), health=FAST)
    code, ended, why = deploy(both, flake, "--goal", "push", "--sign-key", secret)
    assert (code, set(ended.values())) == (0, {"staged"}), why
    with open(public, encoding="utf-8") as file:
        key = file.read().strip()
    for host in ("h1", "h2"):
        path = why[host].split()[1]
        said = both.enter(host, "nix --extra-experimental-features nix-command store verify --no-contents "
                                f"--sigs-needed 1 --trusted-public-keys {key} {path} && echo verified")
        assert said == "verified\n"


def test_flurry_build_prints_what_it_built_and_contacts_no_host(both):
    flake = deploy_flake(both.dir, systems("local"), health=FAST, hosts={"h1": {"targetHost": "203.0.113.99"}})
    code, out, err = both.flurry("build", flake, "--max-jobs", "2")
    assert code == 0, err
    paths = [word for word in out.split() if word.startswith("/nix/store/")]
    assert len(paths) == 2 and all(is_here(both, path) for path in paths), out


def test_flurry_push_leaves_the_system_on_the_host_and_changes_nothing(both):
    flake = deploy_flake(both.dir, systems("waits"), health=FAST)
    before = both.host_state("h1")
    code, out, err = both.flurry("push", flake)
    assert code == 0, err
    assert both.host_state("h1") == before
    code, ended, why = deploy(both, flake)
    assert (code, set(ended.values())) == (0, {"succeeded"}), why
