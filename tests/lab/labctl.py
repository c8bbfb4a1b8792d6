"""The controller's side: a home, ssh configuration, a store of its own, and the way into its namespaces."""

import os
import platform
import re
import subprocess

import labcgroup
from labproc import LabError, enter_namespace, run, wait_until
from labsupervisor import read, write

NIX_CONF = """experimental-features = nix-command flakes
substituters =
build-users-group =
sandbox = false
"""

# Everything that only the controller should see is bind-mounted in its own mount namespace. ssh takes the home from
# passwd and not from $HOME, hence the passwd. A controller of a suite ($LOWER) has that suite's root as its own, with
# these folders of the machine's at their usual places.
HOLDER = """
set -eu
root=
if [ -n "$LOWER" ]; then
  root=$STATE/controller/root
  mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$STATE/controller/upper,workdir=$STATE/controller/work" "$root"
  for place in /proc /sys /dev; do mount --rbind "$place" "$root$place"; done
  for place in /tmp "$STATE" "$CHECKOUT"; do mkdir -p "$root$place"; mount --bind "$place" "$root$place"; done
  mkdir "$root/usr/lib/machine"
  touch "$root/etc/hosts"
  mount --bind "$LIBRARIES" "$root/usr/lib/machine"
  chroot "$root" /sbin/ldconfig
fi
mkdir -p "$root/nix"
mount --bind "$STATE/nix" "$root/nix"
mount --bind "$STATE/passwd" "$root/etc/passwd"
mount --bind "$STATE/etc-hosts" "$root/etc/hosts"
if [ -e "$root/etc/nix/nix.conf" ]; then mount --bind "$STATE/nix-conf/nix.conf" "$root/etc/nix/nix.conf"; fi
if [ -n "$root" ]; then
  cd "$root"
  pivot_root . .
  umount -l .
fi
echo $$ > "$STATE/holder.pid.tmp"
mv "$STATE/holder.pid.tmp" "$STATE/holder.pid"
exec sleep infinity
"""
CHECKOUT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
LIBRARIES = f"/usr/lib/{platform.machine()}-linux-gnu"


def create_home(names, hosts):
    """Home, key and store. Returns the public key that every host shall accept."""
    ssh = os.path.join(names.home, ".ssh")
    os.makedirs(ssh, mode=0o700)
    for folder in ("nix", "nix-conf"):
        os.makedirs(os.path.join(names.state, folder))
    write(os.path.join(names.state, "nix-conf", "nix.conf"), NIX_CONF)
    key = os.path.join(ssh, "id_ed25519")
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {names.lab}", "-f", key])

    blocks = [f"Host {host}\n  HostName {names.address(host)}\n" for host in hosts]
    write(os.path.join(ssh, "config"), "".join(blocks) + f"""Host *
  User root
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {ssh}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
""")
    write(os.path.join(names.state, "passwd"), _passwd(names.home))
    write(os.path.join(names.state, "etc-hosts"), "127.0.0.1 localhost\n" +
          "\n".join(f"{names.address(host)} {host}" for host in hosts))
    return read(key + ".pub")


def _passwd(home):
    lines = []
    for line in read("/etc/passwd").splitlines():
        fields = line.split(":")
        if fields[0] == "root":
            fields[5] = home
        lines.append(":".join(fields))
    return "\n".join(lines)


def write_known_hosts(names, keys):
    write(os.path.join(names.home, ".ssh", "known_hosts"),
          "\n".join(f"{host},{names.address(host)} {key}" for host, key in keys.items()))


def create_root(names, lower):
    """What goes on top of a suite's root: flurry is this machine's build, so the libraries that the suite doesn't have
    in that version are taken from here. It has its own of those that both have, as after an upgrade."""
    top = os.path.join(names.state, "controller")
    only_here = os.path.join(top, "upper", "usr", "lib", "machine-only")
    for folder in ("root", "work", "upper/etc/ld.so.conf.d", "upper/usr/lib/machine-only"):
        os.makedirs(os.path.join(top, folder))
    theirs = {name for folder in lower if os.path.isdir(folder + LIBRARIES) for name in os.listdir(folder + LIBRARIES)}
    for name in os.listdir(LIBRARIES):
        # libstdc++.so.6 is in both, as another 6.0.x; libcurl-gnutls.so.3 is an alias of a version 4 that is in both.
        real = os.path.basename(os.path.realpath(os.path.join(LIBRARIES, name)))
        if ".so." in name and not theirs & {name, _soname(name), _soname(real)}:
            os.symlink(f"/usr/lib/machine/{name}", os.path.join(only_here, name))
    write(os.path.join(top, "upper", "etc", "ld.so.conf.d", "machine-only.conf"), "/usr/lib/machine-only")


def _soname(name):
    return re.sub(r"(\.so\.\d+)(\.\d+)*$", r"\1", name)


def start_holder(names, lower=()):
    """The process that keeps the controller's mount namespace, so that every `lab run` finds the same one. `lower`: the
    directories of the suite that the controller is of; without, it is this machine."""
    if lower:
        create_root(names, lower)
    with open(os.path.join(names.state, "holder.log"), "w") as log:
        subprocess.Popen(["nsenter", f"--net=/run/netns/{names.netns}", "unshare", "--mount",
                          "--propagation", "slave", "sh", "-c", HOLDER],
                         env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "STATE": names.state, "LOWER": ":".join(lower),
                              "CHECKOUT": CHECKOUT, "LIBRARIES": LIBRARIES},
                         stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until("controller's mount namespace", lambda: os.path.exists(names.holder_pid), 10, 0.01)
    except LabError as error:
        raise LabError(f"{error}: {read(os.path.join(names.state, 'holder.log'))}") from None


def enter_network(names):
    enter_namespace(f"/run/netns/{names.netns}")


def environment(names):
    """Ours, without what would lead a tool back to the machine's own home, agent or store."""
    dropped = ("SSH_", "NIX_", "XDG_", "SUDO_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    env.update(HOME=names.home, USER="root", LOGNAME="root", LAB=names.lab,
               NIX_CONF_DIR=os.path.join(names.state, "nix-conf"))
    return env


def exec_inside(names, argv):
    """Become `argv` on the controller. No child: the caller's pid is the command's, for signals and for SIGKILL."""
    holder = read(names.holder_pid)
    if not holder or not os.path.exists(f"/proc/{holder}/ns/mnt"):
        raise LabError(f"lab {names.lab} is not up")
    here = os.getcwd()
    labcgroup.join(labcgroup.group(names.lab, "controller"))
    enter_network(names)
    enter_namespace(f"/proc/{holder}/ns/mnt")
    try:
        os.chdir(here)
    except OSError as error:
        raise LabError(f"{here}: {error.strerror} on the controller") from None
    try:
        os.execvpe(argv[0], argv, environment(names))
    except OSError as error:
        raise LabError(f"{argv[0]}: {error.strerror}") from None
