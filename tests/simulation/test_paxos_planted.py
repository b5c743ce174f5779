"""The simulation is sharp for Multi-Paxos too: every planted bug is found, in each run of the tests by one known seed.

How many seeds each takes: `pytest tests/simulation/test_paxos_planted.py -m soak --seeds 1-200`.
"""

import pytest

from tests.simulation.conftest import run_seed
from tests.simulation.ensembles import hunt_bugs, hunt_in
from tests.simulation.planted.bug import PLANTED_IN_PAXOS
from tests.simulation.planted.paxos import promise_not_stored

QUICK = ("promise_not_stored", "accepted_before_it_is_on_disk", "chosen_before_a_majority")


def run_bug(bug, seed):
    return run_seed(seed, bug.servers, bug.observers, bug.kinds, "multi-paxos")


def test_there_are_enough_of_them():
    assert len({bug.name for bug in PLANTED_IN_PAXOS}) >= 14
    assert {bug.breaks for bug in PLANTED_IN_PAXOS} >= {f"P{number}" for number in range(1, 9)}
    assert promise_not_stored.__name__ == PLANTED_IN_PAXOS[0].name


def found(bug, monkeypatch):
    bug.plant(monkeypatch)
    verdict = run_bug(bug, bug.seed)
    assert verdict.broken == bug.breaks, verdict.problem


@pytest.mark.parametrize("bug", [bug for bug in PLANTED_IN_PAXOS if bug.name in QUICK], ids=lambda bug: bug.name)
def test_planted_bug_is_found_by_the_property_it_breaks(bug, monkeypatch):
    found(bug, monkeypatch)


@pytest.mark.thorough  # ten seconds of processor time
@pytest.mark.parametrize("bug", [bug for bug in PLANTED_IN_PAXOS if bug.name not in QUICK], ids=lambda bug: bug.name)
def test_each_of_the_others_is_found(bug, monkeypatch):
    found(bug, monkeypatch)


def hunt_bug(task):
    return hunt_in(PLANTED_IN_PAXOS, task, run_bug)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_how_many_seeds_each_takes(pytestconfig, capsys):
    hunt_bugs(pytestconfig, capsys, "multi-paxos", PLANTED_IN_PAXOS, hunt_bug)
