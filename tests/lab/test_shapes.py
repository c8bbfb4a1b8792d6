"""Flakes that people already have: deploy-rs's, colmena's and plain configurations, deployed as they are."""

import os
import shutil
import subprocess

import pytest
from harness import DEMO, HERE
from steps import deploy, status

HEAD = """{ outputs = { self }: let
  minios = import ./minios { busyboxDir = ./.; };
  sys = name: release: minios.mkSystem { inherit name release; };
  bad = name: minios.mkSystem { inherit name; release = "bad"; with' = minios.faults.activationFails; };
in {
"""


def flake(lab, name, outputs):
    path = os.path.join(lab.dir, name)
    if not os.path.exists(path):
        subprocess.run([os.path.join(HERE, "prepare-flake"), DEMO, path], check=True, timeout=30)
    with open(os.path.join(path, "flake.nix"), "w") as out:
        out.write(HEAD + outputs + "\n}; }\n")
    return path


def deploy_rs(lab, system):
    return flake(lab, "deploy-rs", f"""
      deploy = {{ sshUser = "root"; nodes.web = {{ hostname = "h1"; confirmTimeout = 8; activationTimeout = 20;
        profiles.system = {{ user = "root"; path = minios.activatable {system}.config.system.build.toplevel; }};
        profiles.tool = {{ user = "plain"; path = minios.mkProfile {{ name = "tool"; deployRs = ":"; }}; }}; }}; }};""")


def example(lab, shape):
    """deploy-examples/SHAPE as it is, beside the systems that it is made of."""
    path = flake(lab, "example-" + shape, "")
    shutil.copy(os.path.join(DEMO, "..", shape, "flake.nix"), path)
    return path


@pytest.mark.parametrize("shape, hosts", [("deploy-rs", {"web": "h1"}), ("colmena", {"web": "h1", "db": "h2"}),
                                          ("plain", {"h1": "h1", "h2": "h2"})])
def test_the_example_of_each_shape_is_deployed_as_it_is(pair, shape, hosts):
    path = example(pair, shape)
    # Nothing can undo what a profile's first activation did.
    code, ended, why = deploy(pair, path, *(["--allow-no-rollback"] if shape == "deploy-rs" else []))
    assert (code, ended) == (0, {name: "succeeded" for name in hosts}), why
    for name, host in hosts.items():
        state = pair.host_state(host)
        assert f"nixos-system-{name}-" in state["current_system"] and "activatable" not in state["current_system"]
        assert state["boot_default"] == state["current_system"]
        assert f"nixos-system-{name}-" in state["profile"]
        assert status(pair, path, name)["drift"] == "in-sync"
    assert deploy(pair, path)[:2] == (0, {name: "unchanged" for name in hosts})


def test_a_bad_release_of_a_deploy_rs_flake_goes_back_to_what_ran(pair):
    assert deploy(pair, deploy_rs(pair, '(sys "h1" "0")'), "--allow-no-rollback")[0] == 0
    before = pair.host_state("h1")
    code, ended, why = deploy(pair, deploy_rs(pair, '(bad "h1")'))
    assert (code, ended) == (4, {"web": "rolled-back"}), why
    after = pair.host_state("h1")
    assert {**after, "failed_units": before["failed_units"]} == before


def test_a_hive_that_does_not_want_to_be_deployed_as_a_whole_has_to_be_asked_for(pair):
    path = example(pair, "colmena")
    with open(os.path.join(path, "flake.nix"), encoding="utf-8") as file:
        text = file.read().replace("allowApplyAll = true", "allowApplyAll = false")
    with open(os.path.join(path, "flake.nix"), "w", encoding="utf-8") as file:
        file.write(text)
    code, _, err = pair.flurry("deploy", path, "--yes")
    assert code == 1 and "allowApplyAll" in err
    code, ended, why = deploy(pair, path, "--on", "@web", "--goal", "push")
    assert (code, ended) == (0, {"web": "staged"}), why


def test_hosts_lists_what_a_selector_selects_though_no_system_evaluates(pair):
    path = flake(pair, "broken", """
      nixosConfigurations = { web = throw "no system"; db = { config = throw "no config"; }; };
      flurry.hosts.db = { targetHost = "h2"; };
      flurry.hosts.web = { targetHost = "h1"; targetPort = 22; tags = [ "eu" ]; requires = [ "db" ];
        health.checks.site.unit = "web"; profiles.home = { user = "plain"; path = throw "no home"; }; };""")
    code, events = pair.flurry_json("hosts", path, "--on", "@eu")
    assert (code, [e["host_listed"] for e in events]) == (0, [{
        "host": "web", "addresses": ["h1"], "user": "", "port": 22, "tags": ["eu"],
        "profiles": [{"name": "system", "user": "root"}, {"name": "home", "user": "plain"}],
        "checks": ["site"], "required_hosts": ["db"], "error": ""}])
    code, out, _ = pair.flurry("hosts", path)
    assert code == 0 and out.splitlines() == [
        "db                    h2", "web                   h1 port 22  @eu  profiles system, home of plain  checks site"
        "  requires db"]


@pytest.mark.parametrize("outputs, told", [
    ("deploy.nodes.web = { };", "deploy.nodes.web.hostname: is missing"),
    ("deploy.nodes.web = { hostname = \"h1\"; profiles.system = { path = 1; confirmTimeot = 5; }; };",
     "did you mean 'confirmTimeout'"),
    ("colmena = { }; nixosConfigurations.h1 = sys \"h1\" \"1\";", "colmenaHive = colmena.lib.makeHive"),
    ("packages = { };", "has none of the outputs"),
])
def test_a_flake_that_is_wrong_is_told_what_is_wrong(pair, outputs, told):
    code, _, err = pair.flurry("hosts", flake(pair, "wrong", outputs))
    assert code == 1 and told in err, err
