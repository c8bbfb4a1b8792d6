"""Hosts that fetch from their own binary caches, with an old and a newer Nix."""

import os
import re

import pytest
from harness import Expr, Lab, deploy_flake, toplevel
from labnames import CONTROLLER
from steps import FAST, assert_on, deploy

NOISE = 4_000_000


class Cache:
    """A signed binary cache that the controller serves, and what was asked of it."""

    def __init__(self, lab):
        self.lab, self.folder, self.log = lab, os.path.join(lab.dir, "cache"), os.path.join(lab.dir, "cache.log")
        self.secret, public = os.path.join(lab.dir, "secret"), os.path.join(lab.dir, "public")
        lab.run("nix-store", "--generate-binary-cache-key", "cache-1", self.secret, public, check=True)
        with open(public, encoding="utf-8") as file:
            self.key = file.read().strip()
        os.mkdir(self.folder)
        self.server = None

    def add(self, path):
        self.lab.run("nix", "copy", "--to", f"file://{self.folder}?secret-key={self.secret}", path, check=True)

    def start(self):
        with open(self.log, "ab") as log:
            self.server = self.lab.popen("/usr/bin/python3", "-u", "-m", "http.server", "0", "--bind", CONTROLLER,
                                         "--directory", self.folder, stderr=log)
        port = re.search(r"port (\d+)", self.server.stdout.readline()).group(1)
        return f"http://{CONTROLLER}:{port}"

    def stop(self):
        if self.server:
            self.server.kill()
            self.server.communicate(timeout=10)
            self.server = None

    def nars_asked(self):
        """Names of archives by the host that got them."""
        with open(self.log, encoding="utf-8") as file:
            return sorted(re.findall(r'^(\S+) .*"GET /nar/\S+ HTTP/[\d.]+" 200', file.read(), re.M))


@pytest.fixture(scope="module")
def both():
    """One host with Nix 2.8, one with 2.34."""
    with Lab("substitute", hosts=2, forky=1) as lab:
        yield lab


@pytest.fixture
def cache(both):
    made = Cache(both)
    try:
        yield made
    finally:
        made.stop()
        for path in (made.folder, made.log, made.secret):
            both.run("rm", "-rf", path)


def noisy(release):
    """Systems that refer to four million bytes that nothing compresses."""
    noise = Expr(f"""{{ files.noise = "${{derivation {{ name = "noise-{release}"; system = "x86_64-linux";
        builder = "/bin/sh"; args = [ "-c" "/bin/dd if=/dev/urandom of=$out bs=1000 count={NOISE // 1000}" ]; }}}}"; }}""")
    return {host: {"release": release, "with'": noise} for host in ("h1", "h2")}


def noise_of(lab, system, release):
    paths = lab.run("nix-store", "-qR", system, check=True)[1].split()
    return next(path for path in paths if path.endswith(f"-noise-{release}"))


def use(lab, substituter, key):
    for host in lab.hosts:
        lab.enter(host, f"printf 'substituters = {substituter}\\ntrusted-public-keys = {key}\\n' >> /etc/nix/nix.conf; "
                        "systemctl try-restart nix-daemon; rm -rf /root/.cache/nix")


def test_a_host_fetches_what_its_cache_has_and_is_sent_the_rest(both, cache):
    flake = deploy_flake(both.dir, noisy("cached"), health=FAST, flurry={"defaults": {"substituteOnTarget": True}})
    systems = {host: both.build(toplevel(flake, host)) for host in both.hosts}
    noise = noise_of(both, systems["h1"], "cached")
    cache.add(noise)
    use(both, cache.start(), cache.key)
    code, events = both.flurry_json("deploy", flake, "--yes")
    ended = {e["host_ended"]["host"]: e["host_ended"]["outcome"] for e in events if "host_ended" in e}
    assert (code, ended) == (0, {"h1": "succeeded", "h2": "succeeded"}), events
    assert len(cache.nars_asked()) == 2, cache.nars_asked()
    totals = [int(e["copy_progress"]["bytes_total"]) for e in events if "copy_progress" in e]
    assert totals and max(totals) < NOISE, "the archive was sent too"
    for host, system in systems.items():
        assert_on(both, host, system)
        said = both.enter(host, f"nix-store --verify-path $(nix-store -qR {system}) && "
                                f"nix --extra-experimental-features nix-command path-info --sigs {noise}")
        assert "cache-1:" in said, "it came with the cache's signature"


def test_a_plan_tells_what_a_host_would_fetch_and_fetches_nothing(both, cache):
    flake = deploy_flake(both.dir, noisy("planned"), health=FAST, flurry={"defaults": {"substituteOnTarget": True}})
    cache.add(noise_of(both, both.build(toplevel(flake, "h1")), "planned"))
    use(both, cache.start(), cache.key)
    code, events = both.flurry_json("plan", flake)
    plans = [e["host_planned"] for e in events if "host_planned" in e]
    assert code == 0 and len(plans) == 2, events
    for plan in plans:
        assert int(plan["substituted_paths"]) == 1 and int(plan["substituted_bytes"]) > NOISE, plan
        assert int(plan["wire_bytes"]) < NOISE, plan
    assert not cache.nars_asked()


def test_all_is_sent_where_the_user_says_so(both, cache):
    flake = deploy_flake(both.dir, noisy("sent"), health=FAST, flurry={"defaults": {"substituteOnTarget": True}})
    cache.add(noise_of(both, both.build(toplevel(flake, "h1")), "sent"))
    use(both, cache.start(), cache.key)
    code, ended, why = deploy(both, flake, "--no-substitute")
    assert (code, ended) == (0, {"h1": "succeeded", "h2": "succeeded"}), why
    assert not cache.nars_asked()


def test_a_cache_that_lacks_what_it_promised_costs_no_deployment_and_is_said(both, cache):
    flake = deploy_flake(both.dir, noisy("lost"), health=FAST, flurry={"defaults": {"substituteOnTarget": True}})
    noise = noise_of(both, both.build(toplevel(flake, "h1")), "lost")
    cache.add(noise)
    both.run("sh", "-c", f"rm -r {cache.folder}/nar", check=True)
    use(both, cache.start(), cache.key)
    code, out, err = both.flurry("deploy", flake, "--yes")
    assert code == 0, err
    assert f"warning: sent what the host could not fetch: {noise}" in out + err


def test_a_cache_that_is_not_there_costs_no_deployment(both, cache):
    flake = deploy_flake(both.dir, noisy("gone"), health=FAST, flurry={"defaults": {"substituteOnTarget": True}})
    use(both, cache.start(), cache.key)
    cache.stop()
    code, ended, why = deploy(both, flake)
    assert (code, ended) == (0, {"h1": "succeeded", "h2": "succeeded"}), why
