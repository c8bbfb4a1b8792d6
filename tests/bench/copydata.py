"""What the copy benchmark copies: bytes of this machine and of pairs of Debian packages, as store paths made by Nix."""

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lab"))

from harness import Expr, deploy_flake, nix  # noqa: E402

CACHE = os.environ.get("FLURRY_BENCH_CACHE", "/var/cache/flurry-bench")
HEALTH = {"minHealthy": "0s", "deadline": "20s"}


def make_corpus(folder, mib):
    """A file of the machine's libraries, in the order of their names, from the start again where they don't suffice."""
    path, left = os.path.join(folder, "corpus"), mib << 20
    files = [name for name in sorted(glob.glob("/usr/lib/x86_64-linux-gnu/**/*.so*", recursive=True))
             if os.path.isfile(name) and not os.path.islink(name)]
    with open(path, "wb") as out:
        while left > 0:
            for name in files:
                with open(name, "rb") as library:
                    got = library.read(left)
                out.write(got)
                left -= len(got)
                if left <= 0:
                    break
    return path


def make_text(folder):
    """Source text, for the small paths: into the flake, so that evaluation stays pure."""
    text = b""
    for name in sorted(glob.glob("/usr/lib/python3*/**/*.py", recursive=True)):
        with open(name, "rb") as source:
            text += bytes(byte for byte in source.read(1 << 16) if byte == 10 or 32 <= byte < 127)
        if len(text) > 1 << 20:
            break
    with open(os.path.join(folder, "text"), "wb") as out:
        out.write(text)


class Releases:
    """Flakes of one lab. Each release has paths that no other has."""

    def __init__(self, folder, corpus_mib):
        self.folder, self.serial = folder, 0
        self.corpus = make_corpus(folder, corpus_mib)

    def make(self, hosts, parts, salt=None):
        """A flake whose hosts all have `parts`: Nix expressions of lists of paths, with `b` for ballast.nix."""
        self.serial += 1
        salt = salt or f"salt {self.serial}"
        ballast = (f"(let b = import ./ballast.nix {{ salt = {nix(salt)}; corpus = {nix(self.corpus)}; "
                   f"text = builtins.readFile ./text; }}; in builtins.concatStringsSep \"\\n\" "
                   f"(map (path: \"${{path}}\") ({' ++ '.join(parts) or '[ ]'})))")
        name = f"flake-{self.serial}"
        system = {"release": str(self.serial), "files": {"ballast": Expr(ballast)}}
        flake = deploy_flake(self.folder, {host: system for host in hosts}, health=HEALTH, name=name)
        shutil.copy(os.path.join(HERE, "ballast.nix"), flake)
        make_text(flake)
        return flake


def small(count):
    return f"b.small {count}"


def big(count, mib):
    return f"b.big {count} {mib}"


# --- packages ------------------------------------------------------------------------------------------------------


def fetch(package):
    """The file of one line of the manifest, or why not."""
    name, version, digest = package
    folder = os.path.join(CACHE, "debs")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{name}_{version.replace(':', '%3a')}_amd64.deb")
    if not os.path.exists(path):
        done = subprocess.run(["apt-get", "download", "-q", f"{name}={version}"], cwd=folder, capture_output=True,
                              text=True, timeout=300)
        if done.returncode != 0 or not os.path.exists(path):
            raise LookupError(f"{name} {version} can't be fetched: {done.stderr.strip()[-200:]}")
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise LookupError(f"{path} is not what the manifest says")
    return path


def unpack(package):
    """A folder with data/, and the frozen lists of files that get references: elf and scripts."""
    deb, tree = fetch(package), os.path.join(CACHE, "trees", f"{package[0]}_{package[2][:16]}")
    if os.path.exists(tree):
        return tree
    shutil.rmtree(tree + ".tmp", ignore_errors=True)
    os.makedirs(tree + ".tmp")
    subprocess.run(["dpkg-deb", "-x", deb, os.path.join(tree + ".tmp", "data")], check=True, timeout=120)
    # No setuid in a Nix store; a build that so much as copies one is refused.
    subprocess.run(["chmod", "-R", "u+w,a-s", os.path.join(tree + ".tmp", "data")], check=True, timeout=60)
    lists = {"elf": [], "scripts": []}
    for folder, _, names in os.walk(os.path.join(tree + ".tmp", "data")):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                start = file.read(4)
            kind = "elf" if start == b"\x7fELF" else "scripts" if start[:2] == b"#!" else None
            if kind:
                lists[kind].append(os.path.relpath(path, os.path.join(tree + ".tmp", "data")))
    for kind, names in lists.items():
        with open(os.path.join(tree + ".tmp", kind), "w") as out:
            out.write("".join(f"{name}\n" for name in sorted(names)))
    os.rename(tree + ".tmp", tree)
    return tree


def package_lists():
    """(old, new): expressions for the two versions of all packages. LookupError where one can't be had."""
    with open(os.path.join(HERE, "packages.json")) as manifest:
        pairs = json.load(manifest)
    sides = []
    for side in ("old", "new"):
        entries = []
        for pair in pairs:
            version, digest = pair[side]
            tree = unpack((pair["name"], version, digest))
            short = "".join(c if c.isalnum() or c in "+-." else "." for c in version.split(":")[-1])
            entries.append({"name": f"{pair['name']}-{short}", "tree": tree})
        sides.append(f"b.packages {nix(entries)}")
    return sides
