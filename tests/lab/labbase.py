"""Root file systems for hosts, kept in a cache outside the repository.

Layers of a suite, so that a change of our own files never costs a debootstrap:
  root-SUITE-KEY           debootstrap and the packages
  conf-SUITE-KEY-VARIANT   an overlay's upper directory on top: tests/lab/base/, setup.sh, and, in
                           the variant `factory`, the first system (release 0 of the demo flake)
  more-SUITE-KEY           another one, of more packages: for a controller of that suite, for a build in it
Each is built in a directory of another name and renamed when whole, under a lock.
"""

import concurrent.futures
import glob
import hashlib
import os
import shutil
import subprocess
import time

from labproc import LabError, Lock, run, say, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.join(HERE, "..", "..", "deploy-examples", "demo")
CACHE = os.environ.get("FLURRY_LAB_CACHE", "/var/cache/flurry-lab")
SUITES = ("bookworm", "trixie", "forky")

FIRST_PACKAGES = ("systemd,systemd-sysv,dbus,openssh-server,iproute2,ca-certificates,sudo,udev,"
                  "procps,busybox-static")
# Debootstrap itself stumbles over a dependency of these; apt in the finished tree doesn't.
SECOND_PACKAGES = "nix-bin nix-setup-systemd libpam-systemd dbus-user-session"

ROOT_RECIPE = f"""
set -eu
# A debootstrap that is older than the suite has no script for it; the one of sid is that of any newer Debian.
script=/usr/share/debootstrap/scripts/$SUITE
[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
debootstrap --variant=minbase --include={FIRST_PACKAGES} "$SUITE" "$OUT" "$MIRROR" "$script"
# The index of testing says how long it is good, and a mirror may lag behind; debootstrap doesn't ask, apt does.
printf 'Acquire::Check-Valid-Until "false";\\nAcquire::Retries "3";\\n' > "$OUT/etc/apt/apt.conf.d/90lab"
printf '#!/bin/sh\\nexit 101\\n' > "$OUT/usr/sbin/policy-rc.d"   # no daemon may start in the chroot
chmod 755 "$OUT/usr/sbin/policy-rc.d"
mount --bind /proc "$OUT/proc"
export DEBIAN_FRONTEND=noninteractive
chroot "$OUT" apt-get -q update
chroot "$OUT" apt-get -q install -y --no-install-recommends {SECOND_PACKAGES}
chroot "$OUT" apt-get -q clean
umount "$OUT/proc"
rm -rf "$OUT/usr/sbin/policy-rc.d" "$OUT"/var/lib/apt/lists/* "$OUT"/etc/ssh/ssh_host_*
rm -rf "$OUT"/usr/share/doc/* "$OUT"/usr/share/man/* "$OUT"/usr/share/locale/*
rm -f "$OUT/etc/hostname" "$OUT/etc/resolv.conf"
"""

# What a controller has and a host need not.
CONTROLLER_PACKAGES = "openssh-client git sqlite3 python3"

MORE_RECIPE = """
set -eu
mkdir -p "$TMP/merged" "$TMP/work" "$OUT"
mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$OUT,workdir=$TMP/work" "$TMP/merged"
cd "$TMP/merged"
printf '#!/bin/sh\\nexit 101\\n' > usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
cp -L /etc/resolv.conf etc/resolv.conf
mount --bind /proc proc
mount --rbind /dev dev
export DEBIAN_FRONTEND=noninteractive
chroot . apt-get -q update
chroot . apt-get -q install -y --no-install-recommends $PACKAGES
chroot . apt-get -q clean
umount -R proc dev
rm -rf usr/sbin/policy-rc.d etc/resolv.conf var/lib/apt/lists/*
cd /
umount "$TMP/merged"
"""

CONF_RECIPE = """
set -eu
mkdir -p "$TMP/merged" "$TMP/work" "$OUT"
mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$OUT,workdir=$TMP/work" "$TMP/merged"
cp -R "$BASE/." "$TMP/merged/"
mount --bind /proc "$TMP/merged/proc"
mount --rbind /dev "$TMP/merged/dev"
if [ -n "$FLAKE" ]; then cp -R "$FLAKE" "$TMP/merged/tmp/flake"; fi
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root chroot "$TMP/merged" /bin/sh /usr/local/lib/lab/setup.sh
rm -rf "$TMP/merged/tmp/flake" "$TMP/merged/root/.cache"
umount -R "$TMP/merged/proc" "$TMP/merged/dev"
umount "$TMP/merged"
"""


def mirror():
    """The Debian mirror that this machine's apt is set up with; FLURRY_LAB_MIRROR goes first."""
    if os.environ.get("FLURRY_LAB_MIRROR"):
        return os.environ["FLURRY_LAB_MIRROR"]
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*"))]:
        try:
            text = open(path, encoding="utf-8", errors="replace").read()
        except OSError:
            continue
        for uri, suites in _apt_sources(text):
            if any(suite in SUITES for suite in suites):
                return uri
    raise LabError("no Debian mirror in /etc/apt (set FLURRY_LAB_MIRROR=URL)")


def _apt_sources(text):
    """(uri, suites) of every entry, in both of apt's formats."""
    for stanza in text.split("\n\n"):
        fields = dict(line.split(":", 1) for line in stanza.splitlines()
                      if ":" in line and line[0].isalpha() and not line.startswith("deb"))
        if "URIs" in fields and "Suites" in fields:
            yield fields["URIs"].split()[0], fields["Suites"].split()
    for line in text.splitlines():
        words = [w for w in line.split() if not w.startswith("[") and not w.endswith("]")]
        if len(words) >= 3 and words[0] == "deb":
            yield words[1], [words[2]]


def _hash_tree(digest, top):
    for folder, folders, files in os.walk(top):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name == "busybox" or name.endswith((".pyc", ".md")):
                continue
            digest.update(os.path.relpath(path, top).encode() + b"\0")
            digest.update(open(path, "rb").read() + b"\0")


def _root_path(suite):
    key = hashlib.sha256(f"{suite}\n{ROOT_RECIPE}".encode()).hexdigest()[:12]
    return os.path.join(CACHE, f"root-{suite}-{key}")


def _conf_path(suite, variant):
    digest = hashlib.sha256(f"{_root_path(suite)}\n{CONF_RECIPE}".encode())
    _hash_tree(digest, os.path.join(HERE, "base"))
    if variant == "factory":
        _hash_tree(digest, DEMO)
    return os.path.join(CACHE, f"conf-{suite}-{digest.hexdigest()[:12]}-{variant}")


def _more_path(suite, packages):
    key = hashlib.sha256(f"{_root_path(suite)}\n{packages}\n{MORE_RECIPE}".encode()).hexdigest()[:12]
    return os.path.join(CACHE, f"more-{suite}-{key}")


def _build(out, script, env, timeout):
    """Run a recipe in mount and pid namespaces of its own, so that whatever happens to us,
    no mount and no process of it outlives us."""
    tmp = out + ".tmp"
    shutil.rmtree(tmp, ignore_errors=True)
    os.makedirs(tmp)
    log_path = out + ".log"
    env = {**os.environ, **env, "TMP": tmp, "OUT": os.path.join(tmp, "out")}
    argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
            "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
    started = time.monotonic()
    with open(log_path, "w", encoding="utf-8") as log:
        try:
            run(argv, timeout=timeout, env=env, stdout=log, stderr=subprocess.STDOUT)
        except LabError:
            tail = "".join(open(log_path, encoding="utf-8", errors="replace").readlines()[-15:])
            raise LabError(f"building {out} failed; the end of {log_path}:\n{tail}") from None
    os.rename(os.path.join(tmp, "out"), out)
    shutil.rmtree(tmp, ignore_errors=True)
    say(f"built {os.path.basename(out)} in {time.monotonic() - started:.0f} s")


def _ensure_suite(suite, variant):
    """The lower directories of a host of this suite, uppermost first."""
    root, conf = _root_path(suite), _conf_path(suite, variant)
    if os.path.isdir(root) and os.path.isdir(conf):
        return [conf, root]
    with _lock(suite):
        _ensure_root(suite)
        if not os.path.isdir(conf):
            _build_conf(suite, variant, root, conf)
    return [conf, root]


def _build_from_mirror(out, script, env):
    """A mirror that changes while we read it (testing does, several times a day) is worth a second try."""
    say(f"building {os.path.basename(out)} once (some minutes; log: {out}.log)")
    try:
        _build(out, script, env, 900)
    except LabError as error:
        say(f"{error}\nonce more:")
        _build(out, script, env, 900)


def _ensure_root(suite):
    root = _root_path(suite)
    if not os.path.isdir(root):
        _build_from_mirror(root, ROOT_RECIPE, {"SUITE": suite, "MIRROR": mirror()})
    return root


def _lock(suite):
    return Lock(os.path.join(CACHE, f"{suite}.lock"), 2000, f"another lab building {suite}")


def with_packages(suite, packages=CONTROLLER_PACKAGES):
    """The lower directories of the suite's root with these packages (names, one space between), uppermost first."""
    root, more = _root_path(suite), _more_path(suite, packages)
    if not (os.path.isdir(root) and os.path.isdir(more)):
        os.makedirs(CACHE, exist_ok=True)
        with _lock(suite):
            _ensure_root(suite)
            if not os.path.isdir(more):
                _build_from_mirror(more, MORE_RECIPE, {"ROOT": root, "PACKAGES": packages})
    return [more, root]


def _build_conf(suite, variant, root, conf):
    flake = ""
    if variant == "factory":
        flake = conf + ".flake"
        shutil.rmtree(flake, ignore_errors=True)
        run([os.path.join(HERE, "prepare-flake"), DEMO, flake])
    try:
        _build(conf, CONF_RECIPE, {"ROOT": root, "BASE": os.path.join(HERE, "base"), "FLAKE": flake}, 180)
    finally:
        shutil.rmtree(conf + ".flake", ignore_errors=True)


def ensure(suites, variant):
    """{suite: [lower directories]}, building what is missing, all suites at once."""
    os.makedirs(CACHE, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = {suite: pool.submit(_ensure_suite, suite, variant) for suite in sorted(set(suites))}
        return {suite: job.result() for suite, job in jobs.items()}
