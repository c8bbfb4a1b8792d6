"""A local user without rights (`plain`), on a host and beside the controller: can't make the agent deploy, go back, tell
a secret, or hang."""

import os
import re
import subprocess
import time

import pytest
from harness import Lab, deploy_flake, flurry_binary
from steps import FAST, Run, assert_on, deploy, status

SHORT = {"confirmTimeout": "6s", "activationTimeout": "30s"}
# Long enough that plain can do everything below while the new system runs unconfirmed.
SLOW = {"minHealthy": "8s", "deadline": "40s"}
SECRETS = ("hidden-in-url", "hidden-in-header", "hidden-in-body")
SWITCH_LOCK = "/run/nixos/switch-to-configuration.lock"


@pytest.fixture(scope="module")
def lab():
    with Lab("attack", hosts=2, small={"h1:/tmp": "8m"}) as lab:
        # As on NixOS, where everybody may speak with the Nix daemon.
        lab.enter("h1", "chmod 1777 /tmp; usermod -aG nix-users plain")
        flake = flake_of(lab, "first", health=FAST)
        assert deploy(lab, flake)[0] == 0
        yield lab


def flake_of(lab, release, hosts=("h1",), health=None, checks=None, **systems):
    return deploy_flake(lab.dir, {host: {"release": release, "web": True, **systems.get(host, {})} for host in hosts},
                        health={**(health or SLOW), "checks": checks or {}}, flurry={"defaults": SHORT})


def as_plain(lab, script, timeout=60, user="plain", host="h1"):
    """(exit code, what it printed on both streams) of a shell script run by that user on the host."""
    code, out, err = lab.run("ssh", f"{user}@{host}", script, timeout=timeout)
    return code, out + err


def start_as_plain(lab, script):
    """Starts a shell script of plain's that goes on until it is stopped; returns its process."""
    return lab.popen("ssh", "-tt", "plain@h1", script, stdin=subprocess.PIPE)


def stop(process):
    process.kill()
    process.communicate(timeout=10)


def begin_deployment(lab, release, **more):
    """A deployment of h1 whose new system runs and is being checked."""
    run = Run(lab, "deploy", flake_of(lab, release, **more), "--yes")
    run.wait_stage("h1", "check")
    return run


def agent_process(lab):
    return lab.enter("h1", "systemctl show -P MainPID -P NRestarts flurry-agent").split()


def succeeds(run):
    code, ended, why = run.finish()
    assert (code, ended) == (0, {"h1": "succeeded"}), why


# What plain tries; each must fail. AGENT is a copy of the agent's own program that plain may run.
ATTEMPTS = [
    "pkill -KILL -x flurry-agent",
    "pkill -STOP -x flurry-agent",
    "systemctl stop flurry-agent",
    "systemctl kill -s KILL flurry-agent",
    "systemctl stop flurry-switch-x",
    "systemd-run --no-ask-password --unit=flurry-deadman-x /bin/true",
    "ls /run/flurry",
    "ls /var/lib/flurry",
    "cat /run/flurry/agent.build",
    "cat /var/lib/flurry/deployments/*.journal",
    "cat /var/lib/flurry/agent/*/flurry-agent",
    "touch /run/flurry/x",
    "ln -s /etc/passwd /nix/var/nix/gcroots/flurry/x",
    "ln -sfn /nix/store/x /run/current-system",
    "ln -sfn /nix/store/x /nix/var/nix/profiles/system",
    "cat /proc/$(pgrep -x -o flurry-agent)/environ",
    "cat /proc/$(pgrep -x -o flurry-agent)/maps | grep -q .",
    "ls /proc/$(pgrep -x -o flurry-agent)/fd",
    "head -c 1 /proc/$(pgrep -x -o flurry-agent)/mem",
    "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => \"/run/flurry/agent.sock\") or die \"no: $!\"'",
    "AGENT connect < /dev/null",
    "AGENT daemon < /dev/null",
    "AGENT deadman 01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "AGENT run-switch /run/flurry/switch/x -- /bin/true",
    "sudo -n true",
]
# These find nothing to harm, and so succeed, while nothing is deployed.
WHILE_DEPLOYING = [
    "systemctl stop 'flurry-deadman-*' && ! systemctl -q is-active 'flurry-deadman-*'",
    "rm -f /nix/var/nix/gcroots/flurry/*-new && ! ls /nix/var/nix/gcroots/flurry/*-new",
]


@pytest.mark.parametrize("when", ["idle", "deploying"])
def test_every_attempt_of_a_user_without_rights_fails(lab, when):
    agent = os.path.join(os.path.dirname(flurry_binary()), "flurry-agent")
    lab.run("scp", "-q", agent, "plain@h1:agent", check=True)
    run = begin_deployment(lab, "attempts") if when == "deploying" else None
    before = agent_process(lab)
    attempts = ATTEMPTS + (WHILE_DEPLOYING if run else [])
    script = "".join(f"( {attempt} ) < /dev/null > /dev/null 2>&1 && echo 'DONE: {number}'\n".replace("AGENT", "./agent")
                     for number, attempt in enumerate(attempts))
    _, said = as_plain(lab, script + "echo through")
    after = agent_process(lab)
    if run:
        succeeds(run)
    assert "through" in said
    assert [attempts[int(number)] for number in re.findall(r"DONE: (\d+)", said)] == []
    assert after == before


def test_no_file_of_the_agent_is_open_to_others(lab):
    run = begin_deployment(lab, "modes")
    modes = lab.enter("h1", "find /run/flurry /var/lib/flurry -printf '%m %u %y %p\\n'")
    succeeds(run)
    open_to_others = [line for line in modes.splitlines()
                      if line.split()[1] != "root" or int(line.split()[0], 8) & 0o077]
    assert open_to_others == []
    assert len(modes.splitlines()) > 8, modes


def test_nothing_that_plain_can_read_holds_a_secret(lab):
    checks = {
        # An address that answers nobody: the probe stands in the list of processes for a while.
        "slow": {"severity": "wanted", "timeout": "3s", "interval": "3s",
                 "http": {"url": "http://u:hidden-in-url@10.77.0.250/", "headers": {"X-Token": "hidden-in-header"},
                          "body": "hidden-in-body"}},
    }
    run = begin_deployment(lab, "secrets", checks=checks)
    journal = lab.enter("h1", "ls -t /var/lib/flurry/deployments/*.journal | head -n 1").strip()
    nonces = lab.enter("h1", f"grep -aoE '(^|[^0-9a-z])[0-9a-f]{{32}}([^0-9a-z]|$)' {journal} | grep -oE '[0-9a-f]{{32}}'").split()
    assert nonces
    _, seen = as_plain(lab, """
      end=$(($(date +%s) + 5))
      while [ "$(date +%s)" -lt "$end" ]; do
        cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2> /dev/null | tr '\\0' '\\n'
      done | sort -u
      { systemctl show 'flurry-*'; systemctl cat 'flurry-*'; journalctl -q --no-pager
        find / /run /tmp -xdev -newermt '-2 minutes' -type f -readable -not -path '/nix/store/*' -exec cat {} +
      } 2>&1 | tr -cd '[:print:]\n'""")
    succeeds(run)
    assert "\nprobe\n" in seen and "\ndeadman\n" in seen, "saw no process of the agent's"
    assert [secret for secret in (*SECRETS, *nonces) if secret in seen] == []


def test_a_store_path_that_plain_adds_is_never_activated(lab):
    before = lab.host_state("h1")
    _, planted = as_plain(lab, """
      mkdir -p fake/bin && printf '#!/bin/sh\\ntouch /root/owned\\n' > fake/bin/switch-to-configuration
      chmod +x fake/bin/switch-to-configuration && printf x > fake/nixos-version
      nix-store --add fake""")
    path = planted.strip().splitlines()[-1]
    assert path.startswith("/nix/store/"), planted
    as_plain(lab, f"""
      nix-env -p /nix/var/nix/profiles/system --set {path}; ln -s {path} /nix/var/nix/gcroots/flurry/01ARZ3NDEKTSV4RRFFQ69G5FAV-new
      {path}/bin/switch-to-configuration switch; ./agent run-switch ~/status -- {path}/bin/switch-to-configuration test""")
    assert lab.host_state("h1") == before
    assert lab.enter("h1", "test -e /root/owned; echo $?").strip() == "1"


def test_the_agent_uses_no_name_in_a_directory_that_all_may_write_to(lab):
    lab.enter("h1", "systemctl stop flurry-agent; rm -rf /var/lib/flurry/agent; touch /run/mark")
    watch = lab.host("h1")
    run = Run(lab, "deploy", flake_of(lab, "names", health=FAST), "--yes")
    seen = set()
    while run.process.poll() is None:
        done = watch.enter(["sh", "-c", "find /tmp /var/tmp /dev/shm /run/lock /run/user /nix/var/nix/gcroots/per-user "
                            "-newer /run/mark -uid 0 -not -type d 2> /dev/null; true"])
        seen |= set(done.stdout.split())
    succeeds(run)
    assert [name for name in seen if not name.startswith("/tmp/nix")] == []


def test_a_user_who_fills_tmp_stops_nothing(lab):
    _, said = as_plain(lab, "dd if=/dev/zero of=/tmp/full bs=1M 2> /dev/null; df --output=avail /tmp | tail -n 1")
    assert said.split()[-1] == "0", said
    try:
        code, ended, why = deploy(lab, flake_of(lab, "full", health=FAST))
        assert (code, ended) == (0, {"h1": "succeeded"}), why
    finally:
        as_plain(lab, "rm -f /tmp/full")


def test_locks_on_everything_that_plain_can_open_hang_nothing(lab):
    holder = start_as_plain(lab, r"""
      find /run /nix/var /var/lib /tmp -xdev -type f -readable 2> /dev/null > ~/openable
      exec perl -MFcntl=:flock -e '
        my @held; open my $list, "<", "$ENV{HOME}/openable";
        while (my $name = <$list>) { chomp $name; open my $f, "<", $name or next; push @held, $f if flock $f, LOCK_EX | LOCK_NB }
        print scalar @held, " held\n"; $| = 1; print "\n"; sleep 1000'""")
    try:
        assert re.match(r"[1-9]\d* held", holder.stdout.readline())
        code, ended, why = deploy(lab, flake_of(lab, "locked", health=FAST))
        assert (code, ended) == (0, {"h1": "succeeded"}), why
    finally:
        stop(holder)


# NixOS's own lock: world-readable, taken without waiting, and refused means that nothing is switched.
@pytest.mark.parametrize("when", ["before the switch", "before the way back"])
def test_a_user_who_holds_the_lock_of_switches_cannot_keep_a_host_from_going_back(lab, when):
    before = lab.host_state("h1")["current_system"]
    lab.enter("h1", f"mkdir -p /run/nixos; touch {SWITCH_LOCK}; chmod 644 {SWITCH_LOCK}")
    wait = f'readlink("/run/current-system") ne "{before}"' if when == "before the way back" else "1"
    hold = f"""exec perl -MFcntl=:flock -e 'open my $f, "<", "{SWITCH_LOCK}" or die; $| = 1; print "open\n";
               until ({wait} and flock $f, LOCK_EX | LOCK_NB) {{ select undef, undef, undef, 0.01 }} sleep 1000'"""
    holder = start_as_plain(lab, hold)
    try:
        assert "open" in holder.stdout.readline()
        code, ended, why = deploy(lab, flake_of(lab, "held-" + when[7:10], health=FAST,
                                                checks={"never": {"tcp": "127.0.0.1:9", "failureThreshold": 1}}))
        assert (code, ended) == (4, {"h1": "rolled-back"}), why
        assert_on(lab, "h1", before)
    finally:
        stop(holder)


def test_a_user_whose_own_manager_fails_takes_no_release_back(lab):
    uid = lab.enter("h1", "id -u plain").strip()
    lab.enter("h1", f"systemctl start user@{uid}")
    run = begin_deployment(lab, "manager")
    as_plain(lab, f"kill -KILL $(systemctl show -P MainPID user@{uid})")
    end = time.monotonic() + 20
    while lab.enter("h1", f"systemctl is-failed user@{uid}", check=False).strip() != "failed":
        assert time.monotonic() < end, "the manager did not fail"
        time.sleep(0.2)
    succeeds(run)
    lab.enter("h1", f"systemctl reset-failed user@{uid}")


def test_hundreds_of_silent_and_garbled_connections_keep_no_controller_out(lab):
    crowd = r"""exec sudo perl -MIO::Socket::UNIX -e '
      $SIG{PIPE} = "IGNORE"; $| = 1;
      for my $i (1 .. 300) {
        my $s = IO::Socket::UNIX->new(Peer => "/run/flurry/agent.sock") or die "$i: $!";
        syswrite $s, "PRI * HTTP/2.0\r\n" if $i % 3 == 1;
        syswrite $s, "\xff" x 5000 if $i % 3 == 2;
        push @kept, $s;
      }
      print "open\n"; sleep 1000'"""
    status(lab, flake_of(lab, "crowd", health=FAST), "h1")      # it may have ended in idleness
    holder = lab.popen("ssh", "-tt", "deploy@h1", crowd, stdin=subprocess.PIPE)
    try:
        assert "open" in holder.stdout.readline()
        code, ended, why = deploy(lab, flake_of(lab, "crowd", health=FAST))
        assert (code, ended) == (0, {"h1": "succeeded"}), why
        pid = agent_process(lab)[0]
        assert int(lab.enter("h1", f"ls /proc/{pid}/fd | wc -l")) < 180
    finally:
        stop(holder)


# --- what weakens the host without any attack -------------------------------------------------------------------


def test_a_damaged_journal_is_told_and_holds_nobody_up_for_ever(lab):
    assert deploy(lab, flake_of(lab, "before-damage", health=FAST))[0] == 0
    journal = lab.enter("h1", "ls -t /var/lib/flurry/deployments/*.journal | head -n 1").strip()
    lab.enter("h1", f"systemctl stop flurry-agent; truncate -s 100 {journal}")
    code, ended, why = deploy(lab, flake_of(lab, "after-damage", health=FAST))
    assert (code, ended) == (0, {"h1": "succeeded"}), why
    told = status(lab, flake_of(lab, "after-damage", health=FAST), "h1")
    assert os.path.basename(journal).replace(".journal", ".damaged") in "".join(told["notes"])


# --- the controller ----------------------------------------------------------------------------------------------


def test_the_connection_to_a_host_that_has_ended_is_closed_while_others_go_on(lab):
    flake = flake_of(lab, "uneven", hosts=["h1", "h2"], h2={"fault": "activationHangs"})
    run = Run(lab, "deploy", flake, "--yes")
    run.wait_for(lambda e: e.get("host_ended", {}).get("host") == "h1")
    end = time.monotonic() + 15
    while lab.enter("h1", "ss -Htn state established '( sport = :22 )'").strip():
        assert time.monotonic() < end, "the connection is still there"
        time.sleep(0.2)
    assert run.process.poll() is None, "the run has ended already: this shows nothing"
    run.finish()


def test_a_low_limit_of_open_files_is_raised(lab):
    command = f"ulimit -Sn 100; exec {flurry_binary()} status {flake_of(lab, 'limit')} --output json"
    process = lab.popen("sh", "-c", command)
    try:
        end = time.monotonic() + 20
        while True:
            with open(f"/proc/{process.pid}/limits") as limits:
                soft, hard = re.search(r"Max open files +(\d+) +(\d+)", limits.read()).groups()
            if soft == hard and os.readlink(f"/proc/{process.pid}/exe") == os.path.realpath(flurry_binary()):
                break
            assert time.monotonic() < end and process.poll() is None, (soft, hard)
            time.sleep(0.02)
    finally:
        process.communicate(timeout=60)
