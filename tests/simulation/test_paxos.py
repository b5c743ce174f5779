"""Ensembles that run Multi-Paxos, under every kind of fault, in the simulation that ZAB and raft run in.

How to replay a seed, and how to hunt: see ensembles.py.
"""

import pytest

from recipes.core.paxos.wire import NAMES
from recipes.core.replicas.ballots import Kind
from recipes.core.sim.plan import FAULTS
from tests.simulation.conftest import run_seed
from tests.simulation.ensembles import hunt, replay, run_all

# Only servers of different lists send the first. The second takes logs that part twice.
RARE = ("REFUSED", "CONFLICT")
EXPECTED = (
    *FAULTS, *(name for name in NAMES.values() if name not in RARE), "ASK_EARLY", "GRANT_EARLY", "PREPARE", "REFUSE",
    "LEADS", "role leader", "role follower", "role looking", "Cell", "Truncate", "InstallSnapshot", "snapshot",
    "unsure", "no space", "end by disk", "session moved", "session expired", "event",
)  # fmt: skip


def run_some(first, last, servers, observers):
    return run_all(range(first, last + 1), servers, observers, "multi-paxos")


def test_the_kinds_that_must_occur_are_kinds():
    assert {"ASK_EARLY", "GRANT_EARLY", "PREPARE", "REFUSE", "LEADS"} == set(Kind.__members__) - {"ASK", "GRANT"}


@pytest.mark.parametrize("ensemble", [(3, 0), pytest.param((5, 1), marks=pytest.mark.thorough)], ids=str)
def test_some_seeds(ensemble):
    counts = run_some(1, 2 if ensemble == (3, 0) else 1, *ensemble)
    assert counts["role leader"] and counts["ACCEPT"] and counts["PROMISE"]


@pytest.mark.thorough  # ten seconds of processor time
def test_more_seeds():
    counts = run_some(30, 54, 3, 0)
    for what, count in run_some(2, 5, 5, 1).items():
        counts[what] = counts.get(what, 0) + count
    assert all(counts.get(what) for what in ("Truncate", "InstallSnapshot", "LEARN", "REPORT", "role observer"))


@pytest.mark.thorough  # test_ensemble.py shows it of the ground that all stand on
def test_a_seed_repeats():
    assert run_seed(1, protocol="multi-paxos").trace == run_seed(1, protocol="multi-paxos").trace


@pytest.mark.replay
def test_one_seed(pytestconfig):
    replay(pytestconfig, "multi-paxos")


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_hunt(pytestconfig, capsys):
    hunt(pytestconfig, capsys, "multi-paxos", EXPECTED)
