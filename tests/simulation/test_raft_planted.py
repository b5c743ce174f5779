"""The simulation is sharp for raft too: every planted bug is found, in each run of the tests by one known seed.

How many seeds each takes: `pytest tests/simulation/test_raft_planted.py -m soak --seeds 1-200`.
"""

import pytest

from tests.simulation.conftest import run_seed
from tests.simulation.ensembles import hunt_bugs, hunt_in
from tests.simulation.planted.bug import PLANTED_IN_RAFT
from tests.simulation.planted.raft import vote_not_stored

QUICK = ("vote_not_stored", "term_not_stored", "leader_counts_itself_before_its_sync", "quorum_of_a_smaller_ensemble")


def run_bug(bug, seed):
    return run_seed(seed, bug.servers, bug.observers, bug.kinds, "raft")


def test_there_are_enough_of_them():
    assert len({bug.name for bug in PLANTED_IN_RAFT}) >= 18
    assert {bug.breaks for bug in PLANTED_IN_RAFT} >= {f"RF{number}" for number in range(1, 11)}
    assert vote_not_stored.__name__ == PLANTED_IN_RAFT[0].name


def found(bug, monkeypatch):
    bug.plant(monkeypatch)
    verdict = run_bug(bug, bug.seed)
    assert verdict.broken == bug.breaks, verdict.problem


@pytest.mark.parametrize("bug", [bug for bug in PLANTED_IN_RAFT if bug.name in QUICK], ids=lambda bug: bug.name)
def test_planted_bug_is_found_by_the_property_it_breaks(bug, monkeypatch):
    found(bug, monkeypatch)


@pytest.mark.thorough  # ten seconds of processor time
@pytest.mark.parametrize("bug", [bug for bug in PLANTED_IN_RAFT if bug.name not in QUICK], ids=lambda bug: bug.name)
def test_each_of_the_others_is_found(bug, monkeypatch):
    found(bug, monkeypatch)


def hunt_bug(task):
    return hunt_in(PLANTED_IN_RAFT, task, run_bug)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_how_many_seeds_each_takes(pytestconfig, capsys):
    hunt_bugs(pytestconfig, capsys, "raft", PLANTED_IN_RAFT, hunt_bug)
