"""Where everything of a lab lies. All names derive from the lab's, so that `down` finds what a killed `up` left."""

import os
import re

from labproc import LabError

STATE = os.environ.get("FLURRY_LAB_STATE", "/var/lib/flurry-lab")
NETWORK = "10.77.0"          # the same in every lab: each has its own namespaces


class Names:
    def __init__(self, lab):
        # No "-": it separates the parts of a name, and lab "a-h1" would be host h1 of lab "a". No "_": systemd-nspawn
        # refuses it in a machine's name.
        if not re.fullmatch(r"[a-z][a-z0-9]{0,19}", lab):
            raise LabError(f"lab name {lab!r}: want a-z and 0-9, at most 20, a letter first")
        self.lab = lab
        self.state = os.path.join(STATE, lab)
        self.lock = os.path.join(STATE, f".{lab}.lock")
        self.netns = f"flurry-{lab}"
        self.home = os.path.join(self.state, "home")
        self.holder_pid = os.path.join(self.state, "holder.pid")
        self.description = os.path.join(self.state, "lab.json")

    def host_dir(self, host, *more):
        return os.path.join(self.state, "hosts", host, *more)

    def host_netns(self, host):
        return f"{self.netns}-{host}"

    def is_ours(self, netns):
        return netns == self.netns or re.fullmatch(re.escape(self.netns) + r"-h\d+", netns) is not None

    def machine(self, host):
        return f"flurry-{self.lab}-{host}"

    @staticmethod
    def address(host):
        return f"{NETWORK}.{10 + int(host[1:])}"

    @staticmethod
    def link(host):
        return f"v{host[1:]}"


CONTROLLER = f"{NETWORK}.1"
