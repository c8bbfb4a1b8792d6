"""Network of a lab: one namespace with a bridge for the controller, one a host, a veth between them."""

import os

from labnames import CONTROLLER
from labproc import LabError, run


def _ip(*argv, **kwargs):
    return run(["ip", *argv], timeout=20, **kwargs)


def namespaces():
    out = _ip("netns", "list").stdout
    return [line.split()[0] for line in out.splitlines() if line.strip()]


def build(names, hosts):
    _ip("netns", "add", names.netns)
    _ip("-n", names.netns, "-batch", "-", stdin=None, input="\n".join([
        "link set lo up",
        "link add br0 type bridge forward_delay 0 stp_state 0",
        f"address add {CONTROLLER}/24 dev br0",
        "link set br0 up",
    ]))
    for host in hosts:
        _ip("netns", "add", names.host_netns(host))
    _ip("-n", names.netns, "-batch", "-", stdin=None, input="\n".join(
        line for host in hosts for line in (
            f"link add {names.link(host)} type veth peer name host0 netns {names.host_netns(host)}",
            f"link set {names.link(host)} master br0 up",
        )))


def set_link(names, host, up):
    _ip("-n", names.netns, "link", "set", names.link(host), "up" if up else "down")


def link_is_up(names, host):
    out = _ip("-n", names.netns, "-o", "link", "show", names.link(host), check=False).stdout
    return "UP" in out.split("<", 1)[-1].split(">", 1)[0].split(",")


def destroy(names):
    """By name, whoever made them; a namespace whose `ip netns add` was interrupted is only a plain file."""
    for netns in namespaces():
        if not names.is_ours(netns):
            continue
        if _ip("netns", "del", netns, check=False).returncode != 0:
            try:
                os.unlink(f"/run/netns/{netns}")
            except FileNotFoundError:
                pass
            except OSError as error:
                raise LabError(f"network namespace {netns}: {error}") from None
