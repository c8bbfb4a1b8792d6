"""What a user who may deploy can do to a host by what is asked of its agent, and what others see of it."""

import re
import subprocess

import pytest
from harness import Expr, Lab, deploy_flake
from steps import FAST, Run, deploy
from test_attack import agent_process

SLOW_CHECKS = {f"slow-{n}": {"command": ["sleep", "2"], "timeout": "20s"} for n in range(20)}


@pytest.fixture(scope="module")
def lab():
    with Lab("calls", hosts=1) as lab:
        assert deploy(lab, flake_of(lab, "first"))[0] == 0
        yield lab


def flake_of(lab, release, checks=None, name="flake", defaults=None, **system):
    return deploy_flake(lab.dir, {"h1": {"release": release, **system}}, health={**FAST, "checks": checks or {}},
                        flurry={"defaults": defaults or {}}, name=name)


def running(lab, command):
    return lab.enter("h1", f"pgrep -fx '{command}' | wc -l").strip()


def test_what_a_checks_command_leaves_behind_ends_with_it(lab):
    left = ["sh", "-c", "setsid sleep 4321 < /dev/null > /dev/null 2>&1 & (setsid sleep 4322 &); exit 0"]
    code, ended, why = deploy(lab, flake_of(lab, "leaves", {"leaves": {"command": left}}))
    assert (code, ended) == (0, {"h1": "succeeded"}), why
    assert (running(lab, "sleep 4321"), running(lab, "sleep 4322")) == ("0", "0")


def test_a_checks_command_that_a_signal_ends_takes_the_release_back(lab):
    before = lab.host_state("h1")["current_system"]
    checks = {"killed": {"command": ["sh", "-c", "kill -KILL $$"], "failureThreshold": 1}}
    code, ended, why = deploy(lab, flake_of(lab, "killed", checks))
    assert (code, ended) == (4, {"h1": "rolled-back"}), why
    assert "signal 9" in why["h1"], why
    assert lab.host_state("h1")["current_system"] == before


def test_many_checks_at_once_take_nothing_from_a_deployment(lab):
    checking = flake_of(lab, "first", SLOW_CHECKS, name="checking")
    before = agent_process(lab)
    crowd = [lab.start_flurry("check", checking, stderr=subprocess.STDOUT) for _ in range(12)]
    try:
        code, ended, why = deploy(lab, flake_of(lab, "beside", {"own": {"command": ["true"]}}))
        assert any(one.poll() is None for one in crowd), "they had ended before: this shows nothing"
        assert int(lab.enter("h1", "pgrep -fx 'sleep 2' | wc -l")) <= 8
        assert (code, ended) == (0, {"h1": "succeeded"}), why
        said = [(one.communicate(timeout=180)[0], one.returncode) for one in crowd]
        assert any("try again in a moment" in text for text, _ in said), said
        assert any(code == 0 for _, code in said), said
    finally:
        for one in crowd:
            one.kill()
            one.wait(timeout=10)
    assert agent_process(lab) == before


def test_checks_of_a_controller_that_is_gone_end(lab):
    one = lab.start_flurry("check", flake_of(lab, "first", {"long": {"command": ["sleep", "4323"], "timeout": "1h"}},
                                             name="checking"))
    lab.enter("h1", "for i in $(seq 200); do pgrep -fx 'sleep 4323' && exit 0; sleep 0.1; done; exit 1")
    one.kill()
    one.communicate(timeout=10)
    lab.enter("h1", "for i in $(seq 200); do pgrep -fx 'sleep 4323' || exit 0; sleep 0.1; done; exit 1")


def test_settings_of_nix_stand_in_no_list_of_processes_and_in_no_log_of_sudo(lab):
    slow = Expr("""{ files.slow = "${derivation { name = "slow"; system = "x86_64-linux"; builder = "/bin/sh";
        args = [ "-c" "/bin/sleep 3; echo x > $out" ]; }}"; }""")
    flake = deploy_flake(lab.dir, {"h1": {"release": "told", "with'": slow}}, health=FAST,
                         flurry={"defaults": {"buildOn": "target", "targetUser": "deploy"}})
    look = """
      end=$(($(date +%s) + 60))
      while [ "$(date +%s)" -lt "$end" ] && ! [ -e /run/seen-enough ]; do
        cat /proc/[0-9]*/cmdline 2> /dev/null | tr '\\0' '\\n'
      done | sort -u"""
    watch = lab.popen("ssh", "plain@h1", look)
    run = Run(lab, "deploy", flake, "--yes", "--option", "access-tokens", "github.com=hidden-token",
              "--option", "extra-substituters", "http://user:hidden-password@127.0.0.1:9/", "--option", "fallback", "true")
    # Root may see them.
    told = lab.enter("h1", """for i in $(seq 300); do
        for pid in $(pgrep -x nix-store); do tr '\\0' '\\n' < /proc/$pid/environ; exit 0; done; sleep 0.1
      done; exit 1""")
    code, ended, why = run.finish()
    lab.enter("h1", "touch /run/seen-enough")
    seen = watch.communicate(timeout=70)[0]
    log = lab.enter("h1", "journalctl -q --no-pager")
    assert (code, ended) == (0, {"h1": "succeeded"}), why
    assert "extra-substituters = http://user:hidden-password@" in told and "fallback = true" in told
    assert "hidden-token" not in told, "only evaluation needs it"
    assert "--realise" in seen and "COMMAND=" in log, "saw nothing"
    assert "hidden" not in seen and "hidden" not in log


def test_a_big_copy_has_no_socket_that_a_container_could_reach(lab):
    """Such a one shares the network namespace, and with it all names of sockets that are no files."""
    noise = " ".join(f"""${{derivation {{ name = "noise-{i}"; system = "x86_64-linux"; builder = "/bin/sh";
        args = [ "-c" "/bin/dd if=/dev/urandom of=$out bs=1000000 count=25; true" ]; }}}}""" for i in range(4))
    flake = flake_of(lab, "big", **{"with'": Expr('{ files.noise = "' + noise + '"; }')})
    watch = lab.popen("ssh", "root@h1", """
      end=$(($(date +%s) + 90))
      while [ "$(date +%s)" -lt "$end" ] && ! [ -e /run/seen-all ]; do cat /proc/net/unix; sleep 0.02; done | sort -u""")
    code, ended, why = deploy(lab, flake)
    lab.enter("h1", "touch /run/seen-all")
    names = {line.split()[-1] for line in watch.communicate(timeout=100)[0].splitlines()}
    assert (code, ended) == (0, {"h1": "succeeded"}), why
    assert any(name.startswith("/run/flurry/.import-") for name in names), "no lanes: this shows nothing"
    assert [name for name in names if re.fullmatch("@[0-9a-f]{5}", name)] == [], "a name that the kernel gave"
    assert lab.enter("h1", "ls -a /run/flurry | grep import-; true") == ""


def test_neither_program_leaves_a_core_file(lab):
    one = lab.start_flurry("check", flake_of(lab, "first", {"long": {"command": ["sleep", "4324"], "timeout": "1m"}},
                                             name="checking"))
    try:
        lab.enter("h1", "for i in $(seq 200); do pgrep -fx 'sleep 4324' && exit 0; sleep 0.1; done; exit 1")
        limits = lab.enter("h1", "cat /proc/$(pgrep -x -o flurry-agent)/limits")
        with open(f"/proc/{one.pid}/limits", encoding="ascii") as ours:
            limits += ours.read()
        assert re.findall("Max core file size +(\\d+)", limits) == ["0", "0"]
    finally:
        one.kill()
        one.communicate(timeout=10)
