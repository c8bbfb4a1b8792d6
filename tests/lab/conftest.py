"""Fixtures: one fleet of real hosts for a whole file of tests, because a fleet costs seconds and a test does not."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import Lab  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "trap(number, ...): the traps of tests/lint/traps that this test holds")


@pytest.fixture(scope="module")
def fleet():
    """Eight hosts, the last two with newer Nix, systemd and sshd."""
    with Lab("fleet", hosts=8, trixie=1, forky=1) as lab:
        yield lab


@pytest.fixture(scope="module")
def pair():
    with Lab("pair", hosts=2) as lab:
        yield lab
