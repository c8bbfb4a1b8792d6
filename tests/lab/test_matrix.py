"""The fault matrix: every fault at every point of a deployment, on real hosts. The table is matrix_table.py."""

import os

import pytest
from harness import HERE, Lab, flurry_binary
from matrix import AGENT, SMALL, SOFT_HOSTS, Fleet
from matrix_table import as_markdown, cells, expected
from matrix_watch import Watch

HOSTS = 8


def wait_in_it(cell):
    """Cells in which somebody has to wait for a deadline come first, so that the last ones are short; before them those that
    only two hosts can run."""
    return cell[1] != "soft-reboot", cell[0] != "deadman-rollback-started", cell[1] not in ("network-cut", "sshd-frozen", "controller-killed",
                                                                 "emergency", "isolate")


@pytest.fixture(scope="module")
def matrix(request):
    """{cell: (what ran, what is wrong or None, seconds)} of the cells that this run selects."""
    wanted = {item.callspec.params["cell"] for item in request.session.items
              if item.fspath == request.node.fspath and hasattr(item, "callspec")}
    names = [f"h{n}" for n in range(1, HOSTS + 1)]
    before = os.environ.get("FLURRY_AGENT")
    os.environ["FLURRY_AGENT"] = AGENT      # `flurry status` too must speak with this one
    small = {f"{name}:{path}": size for name in names if name not in SOFT_HOSTS for path, size in SMALL.items()}
    with Lab("matrix", hosts=HOSTS, trixie=1, forky=1, small=small) as lab:
        watch = Watch([lab.host(name) for name in names])
        watch.start()
        try:
            fleet = Fleet(lab, watch)
            fleet.prepare(names)
            fleet.prepare_thirds(names)
            fleet.run(sorted(wanted, key=wait_in_it))
        finally:
            watch.stop()
            os.environ.pop("FLURRY_AGENT") if before is None else os.environ.update(FLURRY_AGENT=before)
    yield fleet.results
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print("\n" + summary([cell for cell, _, _ in fleet.results.values()]))


def summary(ran):
    """How long an unconfirmed system ran past its recorded deadline. Where the deadman is held at its point, the test's
    own hold is part of the time."""
    lines = []
    for title, by_deadman in (("agent", False), ("deadman, 3 s patience and the test's hold included", True)):
        late = [(cell.overdue, cell.point, cell.fault) for cell in ran
                if cell.overdue is not None and cell.point.startswith("deadman-rollback") == by_deadman]
        if late:
            worst, point, fault = max(late)
            lines.append(f"longest past the deadline on an unconfirmed system ({title}): {worst:.2f} s "
                         f"in {point}-{fault}, of {len(late)} cells")
    return "\n".join(lines)


@pytest.mark.parametrize("cell", cells(), ids="-".join)
def test_cell(matrix, cell):
    assert cell in matrix, "no host was left to run it"
    _, error, _ = matrix[cell]
    assert error is None, f"{error}\nmust end {expected(*cell)}"


def test_the_release_agent_holds_no_fault_points():
    release = os.path.join(os.path.dirname(flurry_binary()), "flurry-agent")
    holds = {path: b"flurry-fault" in open(path, "rb").read() for path in (release, AGENT)}
    assert holds == {release: False, AGENT: True}


def test_the_readme_shows_this_matrix():
    assert as_markdown() in open(os.path.join(HERE, "README.md")).read()
