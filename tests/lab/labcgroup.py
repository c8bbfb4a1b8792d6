"""One control group a lab, with one below it a host: the kernel's own list of every process that we ever started.

A process can't leave it by forking or by losing its parent, so killing the group is a complete clean-up, whatever
was SIGKILLed before. Only cgroup v2 can do that (also the bare one of a "hybrid" machine).
"""

import os
import signal
import time

from labproc import LabError, wait_until


def _mount():
    found = [line.split()[1] for line in open("/proc/self/mounts") if line.split()[2] == "cgroup2"]
    if not found:
        raise LabError("no cgroup2 hierarchy is mounted on this machine")
    return found[0]


def group(lab, *below):
    return os.path.join(_mount(), "flurry-lab", lab, *below)


def join(path, pid=0):
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "cgroup.procs"), "w") as procs:
        procs.write(str(pid))


def leave():
    """Back to the root, so that whoever cleans up isn't cleaned up."""
    join(_mount())


def members(path):
    """{pid: path of its group relative to `path`} over the whole tree."""
    found = {}
    for folder, _, _ in os.walk(path):
        try:
            with open(os.path.join(folder, "cgroup.procs")) as procs:
                for line in procs:
                    if int(line) > 0:
                        found[int(line)] = os.path.relpath(folder, path)
        except OSError:      # the group went while we looked
            continue
    return found


def kill_members(path):
    """SIGKILL everything below `path`, and leave the group itself alone."""
    try:
        with open(os.path.join(path, "cgroup.kill"), "w") as kill_file:
            kill_file.write("1")
    except OSError:          # before Linux 5.14
        for pid in members(path):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def kill(path, timeout=15):
    """SIGKILL everything below `path` and remove the tree."""
    if not os.path.isdir(path):
        return
    end = time.monotonic() + timeout
    while members(path):
        kill_members(path)
        if time.monotonic() > end:
            raise LabError(f"{path}: still holds processes {sorted(members(path))} after {timeout} s of SIGKILL")
        time.sleep(0.02)
    wait_until(f"removing {path}", lambda: _remove(path), timeout)


def _remove(path):
    for folder, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:      # a process that is just ending
            pass
    return not os.path.isdir(path)


def everywhere(lab):
    """This lab's trees in all hierarchies: on a hybrid machine systemd-nspawn mirrors ours into a v1 one."""
    mounts = [line.split()[1] for line in open("/proc/self/mounts") if line.split()[2] in ("cgroup", "cgroup2")]
    return [path for path in (os.path.join(mount, "flurry-lab", lab) for mount in mounts) if os.path.isdir(path)]


def destroy(lab):
    """All of the lab's processes and groups, and the parent when this was the last lab."""
    kill(group(lab))
    for path in everywhere(lab):
        wait_until(f"removing {path}", lambda: _remove(path), 15)
        try:
            os.rmdir(os.path.dirname(path))
        except OSError:      # another lab is up
            pass
    try:
        os.rmdir(os.path.dirname(group(lab)))
    except OSError:
        pass
