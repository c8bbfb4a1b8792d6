"""What a copy tells of itself, and what a host takes."""

import json
import os

import pytest
from harness import Lab, deploy_flake
from steps import FAST, deploy, outcomes

POLICY = "/etc/flurry/agent.json"


@pytest.fixture(scope="module")
def host():
    with Lab("copies", hosts=1) as lab:
        yield lab


def flake_of(lab, release):
    return deploy_flake(lab.dir, {"h1": {"release": release}}, health=FAST)


def events_of(lab, flake, *options):
    code, events = lab.flurry_json("deploy", flake, "--yes", *options)
    assert (code, outcomes(events)) == (0, {"h1": "succeeded"})
    accounts = [event["host_copied"] for event in events if "host_copied" in event]
    progress = [event["copy_progress"] for event in events if "copy_progress" in event]
    return accounts, progress


def test_the_events_say_what_a_copy_takes_and_what_was_saved(host):
    (account,), progress = events_of(host, flake_of(host, "1.0"))
    copied, wire = int(account["copied_bytes"]), int(account["wire_bytes"])
    assert 0 < int(account["copied_paths"]) <= int(account["closure_paths"])
    assert 0 < wire < copied <= int(account["closure_bytes"])
    last = progress[-1]
    assert (int(last["bytes_sent"]), int(last["bytes_total"]), int(last["wire_bytes"])) == (copied, copied, wire)
    assert last["paths_done"] == last["paths_total"] == account["copied_paths"]
    (account,), _ = events_of(host, flake_of(host, "1.1"))
    assert int(account["delta_paths"]) > 0, "it differs from 1.0 in its name only"
    assert int(account["wire_bytes"]) < wire / 2


def test_a_person_sees_what_a_copy_took(host):
    code, out, err = host.flurry("deploy", flake_of(host, "1.2"), "--yes")
    assert code == 0, err
    assert "\ncopied " in out and " on the wire (" in out, out
    assert "h1 | copied " in err and "as deltas" in err and " there\n" in err, err


def test_a_plan_says_what_would_be_copied_and_changes_nothing(host):
    flake = flake_of(host, "1.3")
    before = host.host_state("h1"), host.enter("h1", "ls /nix/store /nix/var/nix/gcroots/flurry")
    code, events = host.flurry_json("plan", flake)
    assert (code, outcomes(events)) == (0, {"h1": "staged"})
    (plan,) = [event["host_planned"] for event in events if "host_planned" in event]
    assert (host.host_state("h1"), host.enter("h1", "ls /nix/store /nix/var/nix/gcroots/flurry")) == before
    (account,), _ = events_of(host, flake)
    assert (plan["missing_paths"], plan["missing_bytes"]) == (account["copied_paths"], account["copied_bytes"])
    assert 0.5 < int(plan["wire_bytes"]) / int(account["wire_bytes"]) < 2
    code, out, err = host.flurry("plan", flake)
    assert code == 0 and "all 1 host unchanged" in out or "1 host unchanged" in out, out + err


def test_a_host_that_requires_signatures_refuses_what_has_none_and_takes_what_has_one(host):
    secret, public = os.path.join(host.dir, "secret"), os.path.join(host.dir, "public")
    host.run("nix-store", "--generate-binary-cache-key", "fleet-1", secret, public, check=True)
    with open(public, encoding="utf-8") as file:
        policy = {"requireSignatures": True, "trustedPublicKeys": [file.read().strip()]}
    before = host.host_state("h1")
    try:
        host.enter("h1", f"mkdir -p /etc/flurry && cat > {POLICY} <<'END'\n{json.dumps(policy)}\nEND")
        code, ended, why = deploy(host, flake_of(host, "signed"))
        assert (code, ended) == (3, {"h1": "failed-unchanged"}), why
        for words in ("carries no good signature", "trusted: fleet-1", "--sign-key"):
            assert words in why["h1"], why["h1"]
        assert host.host_state("h1") == before
        code, ended, why = deploy(host, flake_of(host, "signed"), "--sign-key", secret)
        assert (code, ended) == (0, {"h1": "succeeded"}), why
        host.enter("h1", f"echo '{{\"requireSignature\": true}}' > {POLICY}")
        code, ended, why = deploy(host, flake_of(host, "unread"), "--sign-key", secret)
        assert (code, ended) == (3, {"h1": "failed-unchanged"}), why
        assert "no field 'requireSignature'" in why["h1"] and POLICY in why["h1"], why["h1"]
    finally:
        host.enter("h1", f"rm -f {POLICY}")
