"""The controller's side: a home, ssh configuration, a store of its own, and the way into its namespaces."""

import os
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
# passwd and not from $HOME, hence the passwd.
HOLDER = """
set -eu
mkdir -p /nix
mount --bind "$STATE/nix" /nix
mount --bind "$STATE/passwd" /etc/passwd
mount --bind "$STATE/etc-hosts" /etc/hosts
if [ -e /etc/nix/nix.conf ]; then mount --bind "$STATE/nix-conf/nix.conf" /etc/nix/nix.conf; fi
echo $$ > "$STATE/holder.pid.tmp"
mv "$STATE/holder.pid.tmp" "$STATE/holder.pid"
exec sleep infinity
"""


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


def start_holder(names):
    """The process that keeps the controller's mount namespace, so that every `lab run` finds the same one."""
    with open(os.path.join(names.state, "holder.log"), "w") as log:
        subprocess.Popen(["nsenter", f"--net=/run/netns/{names.netns}", "unshare", "--mount",
                          "--propagation", "slave", "sh", "-c", HOLDER],
                         env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "STATE": names.state},
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
