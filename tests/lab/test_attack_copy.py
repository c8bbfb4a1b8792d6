"""A controller that may copy to a host and sends bombs: what is small on the wire and big for who unpacks it. The host's
policy trusts the signature of what is announced; what comes instead becomes valid never, and takes no memory."""

import base64
import copy
import json
import os
import subprocess
import threading

import pytest
from harness import Lab, deploy_flake
from steps import FAST, deploy

PROTOCOL = 5
HELLO, PATHS, MISSING, INFO, CHUNK, STORED, DONE, ERROR, BLOCK, RAW_BLOCK, ON_LANE = range(1, 12)
# For the whole of an import's address space: much below any bomb, and enough for a copy.
MEMORY_KIB = 400_000
BOMB = 8 << 30


MARK = b"flurry-stream-begins\n"   # after what a login shell may print


def frame(kind, payload):
    return bytes([kind]) + len(payload).to_bytes(4, "little") + payload


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def message(**fields):
    """A protobuf message: f1=…, f2=…, of numbers and texts."""
    out = b""
    for name, value in fields.items():
        number = int(name[1:])
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value if isinstance(value, bytes) else value.encode()
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def token(text):
    data = text if isinstance(text, bytes) else text.encode()
    return len(data).to_bytes(8, "little") + data + b"\0" * (-len(data) % 8)


def tokens(*items):
    return b"".join(token(item) for item in items)


def zstd_of_zeros(size):
    """A zstd frame of so many zeros, in blocks that repeat a byte: four bytes for 128 KiB."""
    out = b"\x28\xb5\x2f\xfd" + b"\xc0" + b"\x68" + size.to_bytes(8, "little")      # 8 bytes of size, a window of 8 MiB
    left = size
    while left > 0:
        now = min(left, 128 << 10)
        left -= now
        out += (now << 3 | 1 << 1 | (left == 0)).to_bytes(3, "little") + b"\0"
    return out


class Path:
    """One of the controller's store, signed by the key that the host trusts."""

    def __init__(self, lab, text):
        file = os.path.join(lab.dir, f"victim-{text}")
        with open(file, "w", encoding="ascii") as out:
            out.write(text * 100)
        self.path = lab.run("nix-store", "--add", file, check=True)[1].strip()
        lab.run("nix", "store", "sign", "-k", secret(lab), self.path, check=True)
        told = json.loads(lab.run("nix", "path-info", "--json", "--sigs", self.path, check=True)[1])
        told = told[0] if isinstance(told, list) else told[self.path]
        self.size, self.signature = told["narSize"], told["signatures"][-1]
        self.hash = lab.run("nix", "hash", "to-base16", told["narHash"], check=True)[1].strip()
        with lab.popen("nix-store", "--dump", self.path, text=False) as process:
            self.nar = process.stdout.read()

    def announced_as(self, lab, size):
        """The same with another size, signed by who has the key."""
        other = copy.copy(self)
        other.size = size
        base32 = lab.run("nix", "hash", "to-base32", f"sha256:{self.hash}", check=True)[1].strip().removeprefix("sha256:")
        other.signature = sign(lab, f"1;{self.path};sha256:{base32};{size};")
        return other

    def opening(self, **info):
        return (frame(HELLO, message(f1=PROTOCOL, f2="01ARZ3NDEKTSV4RRFFQ69G5FAV", f3=self.path, f4=1)) +
                frame(PATHS, message(f1=message(f1=self.path, f2=self.size))) +
                frame(INFO, message(f2=self.hash, f5=self.signature, **info)))


def sign(lab, text):
    """As Nix signs, by openssl."""
    with open(secret(lab), encoding="ascii") as file:
        name, key = file.read().strip().split(":")
    pem, message_file = os.path.join(lab.dir, "key.der"), os.path.join(lab.dir, "message")
    with open(pem, "wb") as out:
        out.write(bytes.fromhex("302e020100300506032b657004220420") + base64.b64decode(key)[:32])
    with open(message_file, "w", encoding="ascii") as out:
        out.write(text)
    done = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", pem, "-in", message_file],
                          capture_output=True, check=True, timeout=30)
    return f"{name}:{base64.b64encode(done.stdout).decode()}"


def secret(lab):
    return os.path.join(lab.dir, "fleet.secret")


@pytest.fixture(scope="module")
def lab():
    with Lab("bombs", hosts=1) as lab:
        public = os.path.join(lab.dir, "fleet.public")
        lab.run("nix-store", "--generate-binary-cache-key", "fleet-1", secret(lab), public, check=True)
        assert deploy(lab, flake_of(lab, "first"))[0] == 0
        with open(public, encoding="ascii") as file:
            policy = json.dumps({"requireSignatures": True, "trustedPublicKeys": [file.read().strip()]})
        lab.enter("h1", f"mkdir -p /etc/flurry; echo '{policy}' > /etc/flurry/agent.json")
        yield lab


@pytest.fixture(scope="module")
def victim(lab):
    return Path(lab, "victim")


def flake_of(lab, release):
    return deploy_flake(lab.dir, {"h1": {"release": release}}, health=FAST)


def valid(lab):
    return lab.enter("h1", "nix-store --dump-db | grep -c ^/nix/store/").strip()


def send(lab, parts):
    """Sends until it is through or the host has heard enough; (the host's last frame, its payload, its exit code)."""
    process = lab.popen("ssh", "root@h1", f"ulimit -v {MEMORY_KIB}; "
                        "exec $(ls -t /var/lib/flurry/agent/*/flurry-agent | head -n 1) import", stdin=subprocess.PIPE, text=False)

    def write():
        try:
            for part in parts:
                process.stdin.write(part)
            process.stdin.close()
        except OSError:
            pass            # it has ended

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        said = process.stdout.read()
        errors = process.stderr.read().decode()
        code = process.wait(timeout=60)
    finally:
        process.kill()
    assert said.startswith(MARK), f"the import said no mark (exit {code}): {errors}"
    said = said[len(MARK):]
    last = None
    while len(said) >= 5:
        length = int.from_bytes(said[1:5], "little")
        last, said = (said[0], said[5:5 + length]), said[5 + length:]
    assert last is not None, f"the import said nothing (exit {code}): {errors}"
    return (*last, code)


def endless(chunk, size=BOMB):
    for _ in range(size // len(chunk)):
        yield chunk


def nested(depth):
    yield frame(CHUNK, tokens("nix-archive-1"))
    level = tokens("(", "type", "directory", "entry", "(", "name", "d", "node")
    for _ in range(depth // 1000):
        yield frame(CHUNK, level * 1000)


def delta_of(victim, lab, ops):
    """Against what the host runs; `ops` are what stands behind the version and the outline."""
    base = lab.enter("h1", "readlink /run/current-system").strip()
    told = lab.enter("h1", f"nix-store -q --hash {base}").strip().split(":")[1]
    base_hash = lab.run("nix", "hash", "to-base16", f"sha256:{told}", check=True)[1].strip()
    return victim.opening(f7=base, f8=base_hash) + frame(CHUNK, ops) + frame(CHUNK, b"")


BOMBS = {
    "a frame of 4 GiB": lambda v, lab: [frame(HELLO, b"")[:1] + b"\xff\xff\xff\xff", *endless(b"\0" * (1 << 20))],
    "four thousand million paths": lambda v, lab: [
        frame(HELLO, message(f1=PROTOCOL, f2="01ARZ3NDEKTSV4RRFFQ69G5FAV", f3=v.path, f4=0xffffffff)),
        *endless(frame(PATHS, message(f1=message(f1=v.path, f2=1)) * 10_000), 1 << 30)],
    "a block that says 4 GiB": lambda v, lab: [v.opening(), frame(BLOCK, b"\xff\xff\xff\xff" + zstd_of_zeros(1 << 30))],
    "a block of more than it says": lambda v, lab: [
        v.opening(), frame(BLOCK, (1 << 20).to_bytes(4, "little") + zstd_of_zeros(1 << 34))],
    "a NAR without an end": lambda v, lab: [v.opening(), frame(CHUNK, tokens("nix-archive-1", "(", "type", "regular", "contents") +
                                                               BOMB.to_bytes(8, "little")),
                                            *endless(frame(CHUNK, b"\0" * 900_000))],
    "a million folders in one another": lambda v, lab: [v.announced_as(lab, 200 << 20).opening(), *nested(1_000_000)],
    "a delta whose outline is a bomb": lambda v, lab: [delta_of(v, lab, b"\x01" + varint(1 << 34) + varint(
        len(zstd_of_zeros(1 << 34))) + zstd_of_zeros(1 << 34)[:900_000])],
    "a delta that repeats its base": lambda v, lab: [delta_of(v, lab, b"\x01" + varint(0) + (b"\x01" + varint(0) + varint(1 << 40)) * 50_000)],
    "a delta with a literal bomb": lambda v, lab: [delta_of(v, lab, b"\x01" + varint(0) + b"\x04" + varint(1) + zstd_of_zeros(1 << 33)[:900_000])],
}


def test_what_is_announced_and_sent_is_taken_within_the_memory_that_bombs_are_given(lab):
    good = Path(lab, "good")
    before = valid(lab)
    kind, said, _ = send(lab, [good.opening(), frame(CHUNK, good.nar)])
    assert kind == DONE, said
    assert int(valid(lab)) == int(before) + 1


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_in_little_memory_and_leaves_nothing(lab, victim, bomb):
    before = valid(lab)
    kind, said, code = send(lab, BOMBS[bomb](victim, lab))
    assert kind == ERROR and code == 1, (kind, said, code)
    assert valid(lab) == before
    assert lab.enter("h1", f"nix-store --check-validity {victim.path} 2> /dev/null || echo none").strip() == "none"


def test_after_all_bombs_the_next_deployment_works(lab):
    code, ended, why = deploy(lab, flake_of(lab, "next"), "--sign-key", secret(lab))
    assert (code, ended) == (0, {"h1": "succeeded"}), why
