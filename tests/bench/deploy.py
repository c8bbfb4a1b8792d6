"""A small change to eight hosts: flurry beside what a user would type without it, in one run.

The other way is a loop over the hosts: nix build, nix copy --to ssh://, nix-env --set and
switch-to-configuration over ssh; once one host after another, once all hosts at a time in the background.
It neither checks health nor can go back. Both sides change the same hosts by a release of their own; runs take
turns, so that a machine that slows down slows down both. CPU and memory are the controller's: the command and
all its children, as wait4 counts them (memory: the largest process).
"""

import os
import resource
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lab"))

from harness import Lab, deploy_flake, flurry_binary  # noqa: E402

HOSTS = [f"h{n}" for n in range(1, 9)]
ROUNDS = int(os.environ.get("ROUNDS", "3"))
# So that health costs flurry what it must (a look at the failed units), and no waiting on purpose.
HEALTH = {"minHealthy": "0s", "deadline": "20s"}

ONE_HOST = """
set -e
out=$(nix build --no-link --print-out-paths 2>/dev/null "path:$1#nixosConfigurations.$2.config.system.build.toplevel" ||
      { nix build --no-link "path:$1#nixosConfigurations.$2.config.system.build.toplevel" &&
        nix eval --raw "path:$1#nixosConfigurations.$2.config.system.build.toplevel"; })
nix copy --no-check-sigs --to "ssh://$2" "$out"
ssh "$2" "nix-env -p /nix/var/nix/profiles/system --set $out && $out/bin/switch-to-configuration switch"
"""
SERIAL = "for h in {hosts}; do sh -c '{one}' one {flake} $h || exit 1; done"
PARALLEL = "for h in {hosts}; do sh -c '{one}' one {flake} $h & pids=\"$pids $!\"; done; for p in $pids; do wait $p || exit 1; done"


def measure(lab, *command):
    """Wall seconds, CPU seconds and peak memory (MiB) of a command in the controller's place."""
    log = open(os.path.join(lab.dir, "bench.log"), "w+")
    start = time.monotonic()
    process = lab.popen(*command, stdout=log, stderr=subprocess.STDOUT)
    _, code, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode != 0:
        log.seek(0)
        sys.exit(f"{command[0]}: exit {process.returncode}\n{log.read()[-3000:]}")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    # A closure of some size that does not change, so that asking what is there costs what it does.
    still = {"shared": {"count": 200, "bytes": 4096}}
    serial = 0

    def next_flake(kind):
        nonlocal serial
        serial += 1
        given = {host: {"release": f"{kind}-{serial}", "files": {"motd": f"{kind} {serial} {host}"}, **still}
                 for host in HOSTS}
        return deploy_flake(lab.dir, given, health=HEALTH, name="bench")

    def shell(template, flake):
        one = ONE_HOST.replace("'", "'\\''")
        return ["sh", "-c", template.format(hosts=" ".join(HOSTS), one=one, flake=flake)]

    with Lab("bench", hosts=8, trixie=2) as lab:
        ways = {
            "flurry": lambda flake: [flurry_binary(), "deploy", flake, "--yes"],
            "loop, one by one": lambda flake: shell(SERIAL, flake),
            "loop, all at once": lambda flake: shell(PARALLEL, flake),
        }
        figures = {name: [] for name in ways}
        for name, command in ways.items():  # warm: first contact, agent upload, the big part of the closure
            measure(lab, *command(next_flake("warm")))
        for _ in range(ROUNDS):
            for name, command in ways.items():
                flake = next_flake("round")
                figures[name].append(measure(lab, *command(flake)))
    report(figures)


def report(figures):
    middle = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in figures.items()}
    print(f"\nA small change to {len(HOSTS)} hosts, median of {ROUNDS} rounds (controller's side)")
    print(f"{'':22}{'wall s':>10}{'CPU s':>10}{'peak MiB':>10}")
    for name, row in middle.items():
        print(f"{name:22}{row[0]:10.2f}{row[1]:10.2f}{row[2]:10.1f}")
    ours = middle["flurry"]
    for name, row in middle.items():
        if name != "flurry":
            ratios = [theirs / mine for theirs, mine in zip(row, ours)]
            print(f"{name + ' / flurry':22}" + "".join(f"{ratio:9.2f}×" for ratio in ratios))


main()
