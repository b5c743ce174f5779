"""The simulation is sharp: every planted bug is found, in each run of the tests by one known seed.

How many seeds each takes: `pytest tests/simulation/test_planted.py -m soak --seeds 1-2000`. It appends a line per bug
to soak-planted.jsonl, and goes on where it was interrupted as the hunt of test_ensemble.py does.
"""

import re
from pathlib import Path
from statistics import median

import pytest

from tests.simulation.conftest import run_seed
from tests.simulation.planted import PLANTED
from tests.simulation.soak import add_rows, commit_of, earlier_rows, hunt_planted, totals

SOAK_FILE = Path("soak-planted.jsonl")
PROPERTY = re.compile(r"[CELWZ]\d+")  # see docs/simulation.md; any other error is no find
FOUND = [bug for bug in PLANTED if bug.seed is not None]


def run_bug(bug, seed):
    return run_seed(seed, bug.servers, bug.observers, bug.kinds)


def test_there_are_enough_of_them():
    assert len({bug.name for bug in FOUND}) >= 24


SLOW = {"election_by_zxid_without_epoch", "leader_stays_without_a_quorum", "session_never_ends"}  # three seconds each


def with_marks(bug):
    return pytest.param(bug, id=bug.name, marks=[pytest.mark.thorough] if bug.name in SLOW else [])


@pytest.mark.parametrize("bug", [with_marks(bug) for bug in FOUND])
def test_planted_bug_is_found_by_the_property_it_breaks(bug, monkeypatch):
    bug.plant(monkeypatch)
    verdict = run_bug(bug, bug.seed)
    assert verdict.broken == bug.breaks, verdict.problem


@pytest.mark.thorough  # what test_ensemble.py shows of other seeds
@pytest.mark.parametrize("bug", FOUND, ids=lambda bug: bug.name)
def test_without_the_bug_there_is_nothing_to_find(bug):
    assert run_bug(bug, bug.seed).problem is None


def hunt(task):
    number, first, last = task
    return hunt_planted(PLANTED[number], range(first, last + 1), run_bug, PROPERTY)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_how_many_seeds_each_takes(pytestconfig, capsys):
    first, _, last = pytestconfig.getoption("--seeds").partition("-")
    commit = commit_of()
    done = {row["bug"]: row for row in earlier_rows(SOAK_FILE, commit) if row["seed"] is not None}
    tasks = [(number, int(first), int(last)) for number, bug in enumerate(PLANTED) if bug.name not in done]
    rows = [*done.values(), *add_rows(SOAK_FILE, commit, hunt, tasks)]
    taken = sorted(row["seeds"] for row in rows)
    with capsys.disabled():
        print(f"\n{len(rows)} planted bugs: median {median(taken)}, worst {taken[-1]} seeds")  # noqa: T201
        print(totals(commit, rows))  # noqa: T201
    assert [row["bug"] for row in rows if row["seed"] is None] == []
