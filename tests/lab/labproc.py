"""Small process helpers that the whole lab shares: run with a deadline, namespaces, locks."""

import ctypes
import fcntl
import os
import subprocess
import sys
import time

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Something the user of the lab can read and act on; never a traceback."""


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run(argv, timeout=30, check=True, **kwargs):
    """Run a command; its failure or its silence beyond `timeout` becomes a LabError that names it."""
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stderr", subprocess.PIPE)
    kwargs.setdefault("text", True)
    try:
        done = subprocess.run(argv, timeout=timeout, **kwargs)
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(map(str, argv))}: no end after {timeout} s") from None
    except FileNotFoundError:
        raise LabError(f"{argv[0]}: not installed") from None
    if check and done.returncode != 0:
        detail = (done.stderr or done.stdout or "").strip()
        raise LabError(f"{' '.join(map(str, argv))}: exit {done.returncode}: {detail}")
    return done


def wait_until(what, predicate, timeout, interval=0.05):
    """Poll `predicate` until it is true; a LabError naming `what` when the time is up."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= end:
            raise LabError(f"{what}: not after {timeout} s")
        time.sleep(interval)


def enter_namespace(path):
    """setns(2), which Python has only from 3.12 on."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, 0) != 0:
            errno = ctypes.get_errno()
            raise LabError(f"setns {path}: {os.strerror(errno)}")
    finally:
        os.close(fd)


class Lock:
    """An flock with a deadline. The kernel drops it when its holder dies, SIGKILL included."""

    def __init__(self, path, timeout, what):
        self.path, self.timeout, self.what = path, timeout, what

    def __enter__(self):
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            wait_until(f"{self.what} (lock {self.path})", self._try, self.timeout, 0.1)
        except BaseException:
            os.close(self.fd)
            raise
        return self

    def _try(self):
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False

    def __exit__(self, *_):
        os.close(self.fd)
