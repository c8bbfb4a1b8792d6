"""A host that can't be deployed to fails alone, with an error that says what to do; the others finish."""

import os
import re

import pytest
from harness import Lab, deploy_flake
from steps import FAST, deploy


@pytest.fixture(scope="module")
def odd():
    """h1 good, h2 down, h3 another host key, h4 refuses the login, h5 has no room, h6 without a system."""
    with Lab("odd", hosts=6, small={"h5:/nix": "24m"}) as lab:
        yield lab


def test_each_trouble_is_its_hosts_own(odd):
    odd.power_cut("h2", off=True)
    odd.enter("h3", "rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key;"
                    " systemctl restart ssh")
    odd.enter("h4", "truncate -s 0 /etc/lab/authorized_keys")
    given = {f"h{n}": {"release": "odd"} for n in range(1, 6)}
    given["h5"]["ballast"] = {"count": 2, "bytes": 20_000_000}
    flake = deploy_flake(odd.dir, given, health=FAST)
    code, ended, why = deploy(odd, flake, timeout=240)
    assert ended == {"h1": "succeeded", "h2": "failed-unchanged", "h3": "failed-unchanged", "h4": "failed-unchanged",
                     "h5": "failed-unchanged"}, why
    assert code == 3
    assert re.search(r"ssh-keygen .*-R", why["h3"]), why["h3"]
    assert re.search(r"login|authoriz|refused", why["h4"]), why["h4"]
    assert re.search(r"space|free", why["h5"]), why["h5"]
    assert re.search(r"connect|reach|route|timed out", why["h2"], re.I), why["h2"]
    assert "profile" not in odd.enter("h5", "ls /nix/var/nix/gcroots/flurry 2>/dev/null || true")


def test_an_evaluation_error_is_its_hosts_own(odd):
    flake = deploy_flake(odd.dir, {"h1": {"release": "eval"}, "h6": {"release": "eval"}}, health=FAST, name="evalerror")
    source = os.path.join(flake, "flake.nix")
    with open(source) as text:
        broken = text.read().replace('"h6" = minios.mkSystem', '"h6" = throw "h6 is not ready" minios.mkSystem')
    with open(source, "w") as out:
        out.write(broken)
    code, ended, why = deploy(odd, flake)
    assert (code, ended) == (2, {"h1": "succeeded", "h6": "failed-unchanged"}), why
    assert "h6 is not ready" in why["h6"]


def test_a_failing_build_is_its_hosts_own_and_names_the_derivation(odd):
    bad = {"release": "nobuild", "files": {"no/such/folder": "x"}}
    flake = deploy_flake(odd.dir, {"h1": {"release": "nobuild"}, "h6": bad}, health=FAST, name="buildfails")
    code, ended, why = deploy(odd, flake)
    assert (code, ended) == (2, {"h1": "succeeded", "h6": "failed-unchanged"}), why
    assert "nix log" in why["h6"], why["h6"]


def test_what_a_login_shell_prints_is_passed_over_and_told_where_it_runs_nothing(odd):
    odd.enter("h1", "echo 'echo Welcome to h1; echo still here >&2' > /root/.bashrc")
    # And its sshd takes one session a connection.
    odd.enter("h1", "echo MaxSessions 1 >> /etc/ssh/sshd_config; systemctl reload ssh")
    flake = deploy_flake(odd.dir, {"h1": {"release": "greeted"}}, health=FAST, name="greeted",
                         flurry={"defaults": {"buildOn": "target"}})
    code, ended, why = deploy(odd, flake)
    assert (code, ended) == (0, {"h1": "succeeded"}), why
    odd.enter("h1", "rm /root/.bashrc; usermod -s /usr/sbin/nologin root")
    code, ended, why = deploy(odd, flake)
    odd.enter("h1", "usermod -s /bin/bash root")
    assert (code, ended) == (3, {"h1": "failed-unchanged"}) and "not available" in why["h1"], why


def test_an_agent_whose_file_was_damaged_is_brought_again(odd):
    for number, size in enumerate((0, 4096)):
        odd.enter("h1", f"systemctl stop flurry-agent.service; truncate -s {size} /var/lib/flurry/agent/*/flurry-agent")
        flake = deploy_flake(odd.dir, {"h1": {"release": f"damaged{number}"}}, health=FAST, name=f"damaged{number}")
        code, ended, why = deploy(odd, flake)
        assert (code, ended) == (0, {"h1": "succeeded"}), why


@pytest.mark.trap(23)
def test_a_host_with_nothing_to_go_back_to_needs_a_word(odd):
    odd.enter("h6", "rm -f /run/current-system /nix/var/nix/profiles/system /nix/var/nix/profiles/system-*-link")
    flake = deploy_flake(odd.dir, {"h6": {"release": "first"}}, health=FAST, name="first")
    code, ended, why = deploy(odd, flake)
    assert (code, ended) == (3, {"h6": "failed-unchanged"})
    assert "--allow-no-rollback" in why["h6"]
    code, ended, why = deploy(odd, flake, "--allow-no-rollback")
    assert (code, ended) == (0, {"h6": "succeeded"}), why
