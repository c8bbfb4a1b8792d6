"""A lab as a whole: up and down."""

import concurrent.futures
import glob
import json
import os
import shutil

import labbase
import labcgroup
import labctl
import labnet
from labhosts import Host
from labproc import LabError, Lock, say


def exists(names):
    return bool(os.path.isdir(names.state) or labcgroup.everywhere(names.lab) or
                any(names.is_ours(netns) for netns in labnet.namespaces()))


def hosts(names):
    try:
        with open(names.description) as description:
            return [Host(names, name) for name in json.load(description)["hosts"]]
    except FileNotFoundError:
        raise LabError(f"lab {names.lab} is not up") from None


def suites_of(count, newer):
    """{host: suite}. `newer`: {suite: how many of the last hosts are of it}; the others have the oldest."""
    old = count - sum(newer.values())
    if not 1 <= count <= 200 or old < 0 or any(number < 0 for number in newer.values()):
        raise LabError(f"{count} hosts, {newer} of them: want 1 to 200, and no more of newer suites than hosts")
    suites = [labbase.SUITES[0]] * old + [suite for suite in labbase.SUITES[1:] for _ in range(newer.get(suite, 0))]
    return {f"h{n}": suite for n, suite in enumerate(suites, 1)}


def up(names, suites, bare=False, small=None, timeout=90, controller=None):
    """`suites`: {host: suite}; `small`: {host: {path: size}}; `controller`: its suite, None for this machine as it is.
    When it fails it takes away what it had begun."""
    if os.geteuid() != 0:
        raise LabError("must be root: it makes namespaces and mounts")
    for host in small or {}:
        if host not in suites:
            raise LabError(f"--small {host}: no such host; there are h1 to h{len(suites)}")
    if controller and controller not in labbase.SUITES:
        raise LabError(f"a controller of {controller}: there are {', '.join(labbase.SUITES)}")
    lowers = labbase.ensure(suites.values(), "bare" if bare else "factory")
    controller_root = labbase.with_packages(controller) if controller else ()
    with Lock(names.lock, 5, f"another command on lab {names.lab}"):
        if exists(names):
            raise LabError(f"lab {names.lab} is up already (or a part of it is left): run `lab down` first")
        try:
            _build(names, suites, lowers, small or {}, controller_root)
            wait_all(names, timeout)
        except BaseException:
            say(f"{names.lab}: not up, taking it down again")
            _clean(names)
            raise


# A systemd takes some ten inotify instances, all hosts of all labs share root's, and a kernel gives 128: beyond them
# path units fail and boots hang.
INOTIFY = {"max_user_instances": 8192, "max_user_watches": 524288}


def _make_room():
    for name, wanted in INOTIFY.items():
        path = f"/proc/sys/fs/inotify/{name}"
        with open(path) as file:
            if int(file.read()) >= wanted:
                continue
        with open(path, "w") as file:
            file.write(str(wanted))


def _build(names, suites, lowers, small, controller_root):
    _make_room()
    # Before anything else: what we start from here on is born in the lab's control group.
    labcgroup.join(labcgroup.group(names.lab, "controller"))
    os.makedirs(names.state)
    key = labctl.create_home(names, suites)
    with open(names.description, "w") as description:
        json.dump({"hosts": list(suites)}, description)
    labnet.build(names, suites)
    keys = {}
    for name, suite in suites.items():
        keys[name] = Host.create(names, name, suite, lowers[suite], small.get(name, {}), key)
        Host(names, name).start_supervisor()
    labctl.write_known_hosts(names, keys)
    labctl.start_holder(names, controller_root)


def wait_all(names, timeout):
    labctl.enter_network(names)
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        for job in [pool.submit(host.wait_ssh, timeout) for host in hosts(names)]:
            job.result()


def down(names):
    """Take away everything by its name. Fine on a lab that is half up, half down, or not there."""
    # First kill: an `up` that still runs is in the group too, and lets go of the lock by dying.
    labcgroup.leave()
    labcgroup.kill(labcgroup.group(names.lab))
    with Lock(names.lock, 15, f"another command on lab {names.lab}"):
        _clean(names)
    try:
        os.unlink(names.lock)
    except FileNotFoundError:
        pass


def _clean(names):
    labcgroup.leave()
    labcgroup.destroy(names.lab)
    labnet.destroy(names)
    for path in glob.glob(f"/run/systemd/nspawn/*/{names.machine('h')}*"):
        shutil.rmtree(path, ignore_errors=True)
    _remove_state(names)


def _remove_state(names):
    if not os.path.isdir(names.state):
        return
    for line in open("/proc/self/mountinfo"):
        # Never expected: mounts live in the namespaces that just died. Deleting through one would be a disaster.
        if line.split()[4].startswith(names.state + "/"):
            raise LabError(f"{line.split()[4]}: is still a mount here; unmount it first")
    shutil.rmtree(names.state)
