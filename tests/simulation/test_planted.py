"""The simulation is sharp: every planted bug is found, in each run of the tests by one known seed.

How many seeds each takes: `pytest tests/simulation/test_planted.py -m soak --seeds 1-2000 -s`.
"""

import json
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import pytest

from tests.simulation.conftest import run_seed, take_small_slices
from tests.simulation.planted import PLANTED

SOAK_FILE = Path("soak-planted.jsonl")
FOUND = [bug for bug in PLANTED if bug.seed is not None]


def run_bug(bug, seed):
    return run_seed(seed, bug.servers, bug.observers, bug.kinds)


def test_there_are_enough_of_them():
    assert len({bug.name for bug in FOUND}) >= 24


@pytest.mark.parametrize("bug", FOUND, ids=lambda bug: bug.name)
def test_planted_bug_is_found(bug, monkeypatch):
    assert run_bug(bug, bug.seed).problem is None, "without the bug there is nothing to find"
    bug.plant(monkeypatch)
    problem = run_bug(bug, bug.seed).problem
    assert problem is not None
    assert not problem.startswith(("AttributeError", "NameError")), "what was planted has nothing to stand on any more"


def hunt(task):
    number, first, last = task
    bug = PLANTED[number]
    take_small_slices()
    with pytest.MonkeyPatch.context() as patch:
        bug.plant(patch)
        for seed in range(first, last + 1):
            problem = run_bug(bug, seed).problem
            if problem is not None:
                return {"bug": bug.name, "seed": seed, "seeds": seed - first + 1, "problem": problem}
    return {"bug": bug.name, "seed": None, "seeds": last - first + 1, "problem": None}


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_how_many_seeds_each_takes(pytestconfig):
    first, _, last = pytestconfig.getoption("--seeds").partition("-")
    rows = [json.loads(line) for line in SOAK_FILE.read_text().splitlines()] if SOAK_FILE.exists() else []
    done = {row["bug"] for row in rows}
    tasks = [(number, int(first), int(last)) for number, bug in enumerate(PLANTED) if bug.name not in done]
    with SOAK_FILE.open("a") as file, get_context("spawn").Pool() as pool:
        for row in pool.imap_unordered(hunt, tasks):
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows.append(row)
    taken = sorted(row["seeds"] for row in rows)
    print(f"{len(rows)} planted bugs: median {median(taken)}, worst {taken[-1]} seeds")  # noqa: T201
    assert [row["bug"] for row in rows if row["seed"] is None] == []
