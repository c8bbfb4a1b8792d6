"""Whoever interrupts flurry leaves at once, and leaves nothing running; whoever can't be told the result is told that."""

import os
import signal
import subprocess
import time

import pytest
from harness import deploy_flake
from steps import FAST

SECONDS = {"read": 4141, "build": 4242}     # of the sleeps, so that they are found again


def sleeps(seconds):
    """The processes that sleep for so long, wherever they run."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if b"sleep" in words and str(seconds).encode() in words:
            found.append(int(pid))
    return found


def wait_until(holds, what, timeout=60):
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def edited(flake, old, new):
    path = os.path.join(flake, "flake.nix")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    assert old in text, text
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(old, new, 1))
    return flake


def interrupt(process, number):
    process.send_signal(number)
    code = process.wait(timeout=20)
    return code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_reading_the_flake_ends_at_once_and_with_all_that_it_started(pair, number):
    flake = deploy_flake(pair.dir, {"h1": {"release": "slow"}}, health=FAST, name=f"slow{number}")
    # Reading the fleet needs what a build makes, and that takes its time.
    edited(flake, "flurry = {", f"""flurry = (x: x // {{ hosts.h1.targetHost = builtins.readFile (derivation {{
      name = "address-{number}"; system = "x86_64-linux"; builder = "${{./.}}/busybox";
      args = [ "sleep" "{SECONDS['read']}" ]; }}); }}) {{""")
    process = pair.start_flurry("hosts", flake, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until(lambda: sleeps(SECONDS["read"]) or process.poll() is not None, "nothing is built")
    assert process.poll() is None, process.stderr.read()
    assert interrupt(process, number) == 130
    wait_until(lambda: not sleeps(SECONDS["read"]), "the build goes on", 10)


def test_a_build_ends_with_the_run_that_wanted_it(pair):
    flake = deploy_flake(pair.dir, {"h1": {"release": "endless", "activation": "true"}}, health=FAST, name="endless")
    edited(flake, "minios.mkSystem", f"""(x: (minios.mkSystem x) // {{ config.system.build.toplevel = derivation {{
      name = "endless"; system = "x86_64-linux"; builder = "${{./.}}/busybox"; args = [ "sleep" "{SECONDS['build']}" ]; }}; }})""")
    process = pair.start_flurry("build", flake, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until(lambda: sleeps(SECONDS["build"]) or process.poll() is not None, "nothing is built")
    assert process.poll() is None, process.stderr.read()
    assert interrupt(process, signal.SIGINT) == 130
    wait_until(lambda: not sleeps(SECONDS["build"]), "the build goes on", 10)


@pytest.mark.parametrize("verb", ["status", "check", "rollback"])
def test_a_host_that_is_silent_keeps_nobody_from_leaving(pair, verb):
    flake = deploy_flake(pair.dir, {host: {"release": "silent"} for host in ("h1", "h2")}, health=FAST, name="silent")
    pair.freeze("h2", "sshd")
    try:
        process = pair.start_flurry(verb, flake, "--on", "h2", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(2)
        assert process.poll() is None
        started = time.monotonic()
        assert interrupt(process, signal.SIGINT) == 130
        assert time.monotonic() - started < 10, "it waited for the host"
    finally:
        pair.thaw("h2", "sshd")


@pytest.mark.parametrize("words", [["hosts"], ["status"], ["check"], ["deploy", "--yes"], ["hosts", "--output", "json"]], ids=" ".join)
def test_results_that_can_not_be_written_are_no_success(pair, words):
    flake = deploy_flake(pair.dir, {"h1": {"release": "full"}}, health=FAST, name="full")
    with open("/dev/full", "w") as full:
        process = pair.start_flurry(words[0], flake, *words[1:], stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "results are lost" in err, err
    if words[0] == "deploy":
        code, out, _ = pair.flurry("status", flake)
        assert code == 0 and "in sync" in out, out
