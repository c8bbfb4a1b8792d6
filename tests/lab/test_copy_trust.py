"""Whose signatures a host takes that requires some."""

import json
import os

import pytest
from harness import Lab, deploy_flake
from steps import FAST, deploy

POLICY = "/etc/flurry/agent.json"


@pytest.fixture(scope="module")
def host():
    with Lab("trust", hosts=1) as lab:
        for name in ("fleet-1", "other-1"):
            lab.run("nix-store", "--generate-binary-cache-key", name, secret(lab, name), public(lab, name), check=True)
        yield lab


@pytest.fixture(autouse=True)
def no_policy_afterwards(host):
    host.enter("h1", "mkdir -p /etc/flurry")
    yield
    host.enter("h1", f"rm -rf {POLICY}")


def secret(lab, name):
    return os.path.join(lab.dir, f"{name}.secret")


def public(lab, name):
    return os.path.join(lab.dir, f"{name}.public")


def flake_of(lab, release):
    return deploy_flake(lab.dir, {"h1": {"release": release}}, health=FAST)


def require_signatures(lab, **fields):
    lab.enter("h1", f"cat > {POLICY} <<'END'\n{json.dumps({'requireSignatures': True, **fields})}\nEND")


def refused(lab, release, *options):
    before = lab.host_state("h1")
    code, ended, why = deploy(lab, flake_of(lab, release), *options)
    assert (code, ended) == (3, {"h1": "failed-unchanged"}), why
    assert lab.host_state("h1") == before
    return why["h1"]


def test_a_host_whose_policy_names_no_keys_trusts_those_of_its_nix(host):
    require_signatures(host)
    why = refused(host, "1.0", "--sign-key", secret(host, "fleet-1"))
    assert "the path's: fleet-1" in why and "trusted: cache.nixos.org-1" in why, why
    with open(public(host, "fleet-1"), encoding="utf-8") as file:
        key = file.read().strip()
    host.enter("h1", f"echo 'extra-trusted-public-keys = {key}' >> /etc/nix/nix.conf")
    code, ended, why = deploy(host, flake_of(host, "1.0"), "--sign-key", secret(host, "fleet-1"))
    assert (code, ended) == (0, {"h1": "succeeded"}), why


def test_a_signature_of_another_key_is_none_and_nothing_of_the_path_is_there(host):
    with open(public(host, "other-1"), encoding="utf-8") as file:
        require_signatures(host, trustedPublicKeys=[file.read().strip()])
    paths = host.enter("h1", "nix-store --dump-db | grep -c ^/nix/store/")
    why = refused(host, "2.0", "--sign-key", secret(host, "fleet-1"))
    assert "the path's: fleet-1" in why and "trusted: other-1" in why, why
    assert host.enter("h1", "nix-store --dump-db | grep -c ^/nix/store/") == paths


def test_what_is_there_already_needs_no_signature(host):
    code, ended, why = deploy(host, flake_of(host, "3.0"), "--goal", "push")
    assert (code, ended) == (0, {"h1": "staged"}), why
    require_signatures(host, trustedPublicKeys=[])
    code, ended, why = deploy(host, flake_of(host, "3.0"))
    assert (code, ended) == (0, {"h1": "succeeded"}), why


def test_a_policy_that_leads_nowhere_is_not_taken_for_none(host):
    host.enter("h1", f"ln -sfn /nowhere {POLICY}")
    why = refused(host, "4.0", "--sign-key", secret(host, "fleet-1"))
    assert POLICY in why, why
