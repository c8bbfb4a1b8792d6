"""What a copy tells of itself, and what a host takes."""

import json
import os

import pytest
from harness import Expr, Lab, deploy_flake
from labproc import wait_until
from steps import FAST, Run, deploy, outcomes

POLICY = "/etc/flurry/agent.json"


@pytest.fixture(scope="module")
def host():
    with Lab("copies", hosts=1) as lab:
        yield lab


def flake_of(lab, release):
    return deploy_flake(lab.dir, {"h1": {"release": release}}, health=FAST)


def big_flake(lab, release, count):
    """A system with `count` files of 6 MB that nothing else has."""
    noise = " ".join(f"""${{derivation {{ name = "noise-{release}-{i}"; system = "x86_64-linux"; builder = "/bin/sh";
        args = [ "-c" "/bin/dd if=/dev/urandom of=$out bs=1000000 count=6; true" ]; }}}}""" for i in range(count))
    return deploy_flake(lab.dir, {"h1": {"release": release, "with'": Expr('{ files.noise = "' + noise + '"; }')}},
                        health=FAST)


def all_is_whole(lab):
    return "error" not in lab.enter("h1", "nix-store --verify --check-contents 2>&1", timeout=120)


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
    wait_until("the agent lets go of what it was given before",
               lambda: not host.enter("h1", "ls /nix/var/nix/gcroots/flurry").strip(), timeout=20)
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


def test_a_copy_whose_controller_is_killed_leaves_nothing_half_done_and_the_next_one_sends_the_rest(host):
    flake = big_flake(host, "2.0", 40)
    assert host.flurry("build", flake)[0] == 0
    run = Run(host, "push", flake)
    # What was sent may still be on its way through the host's Nix; of three that are there two are registered.
    wait_until("some paths have arrived", timeout=60, predicate=lambda: int(host.enter(
        "h1", "ls /nix/store | grep noise-2.0- | grep -vc lock || true")) >= 3)
    run.process.kill()
    run.process.wait(timeout=20)
    assert all_is_whole(host)
    (account,), progress = events_of(host, flake)
    assert 0 < int(account["copied_paths"]) < 42, "what had arrived is not sent again"
    assert int(progress[-1]["paths_total"]) == int(account["copied_paths"])
    assert all_is_whole(host)


def test_two_copies_of_the_same_at_once_both_succeed(host):
    flake = big_flake(host, "3.0", 6)
    runs = [host.start_flurry("push", flake, "--output", "json") for _ in range(2)]
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, (out, err)
    assert all_is_whole(host)
