"""Ensembles that run raft, under every kind of fault, in the simulation that ZAB runs in.

How to replay a seed, and how to hunt: see ensembles.py.
"""

import pytest

from recipes.core.raft.options import RaftOptions
from recipes.core.raft.peer import RaftPeer
from recipes.core.replicas.ballots import Kind
from recipes.core.replicas.wire import NAMES
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.plan import FAULTS
from recipes.core.sim.protocols import find_simulated
from tests.simulation.conftest import plan_of, run_seed, sources_of
from tests.simulation.ensembles import hunt, replay, run_all

# Only servers of different lists send the first. The second takes logs that part twice, or a search by single entries.
RARE = ("REFUSED", "CONFLICT")
KINDS = [kind.name for kind in Kind if kind is not Kind.PREPARE]
EXPECTED = (
    *FAULTS, *(name for name in NAMES.values() if name not in RARE), *KINDS, "role leader",
    "role follower", "role looking", "Cell", "Truncate", "InstallSnapshot", "snapshot", "unsure", "no space",
    "end by disk", "session moved", "session expired", "event",
)  # fmt: skip


@pytest.mark.parametrize(
    "ensemble",
    [(3, 0), *(pytest.param(each, marks=pytest.mark.thorough) for each in [(5, 1), (7, 0), (7, 2)])],
    ids=str,
)
def test_some_seeds(ensemble):
    counts = run_all(range(1, 3 if ensemble == (3, 0) else 2), *ensemble, "raft")
    assert counts["role leader"] and counts["APPEND"]


@pytest.mark.thorough  # ten seconds of processor time
def test_more_seeds():
    counts = run_all(range(3, 28), 3, 0, "raft")
    for what, count in run_all(range(2, 6), 5, 1, "raft").items():
        counts[what] = counts.get(what, 0) + count
    assert all(counts.get(what) for what in ("Truncate", "InstallSnapshot", "GRANT", "role observer"))


def by_entry(settings, found, now_ms):
    return RaftPeer(settings, found, RaftOptions(back_off_by_term=False), now_ms)


@pytest.mark.thorough
def test_the_search_of_the_paper_entry_by_entry():
    protocol = find_simulated("raft")
    protocol = protocol._replace(protocol=protocol.protocol._replace(start=by_entry))
    conflicts = 0
    for seed in range(1, 7):
        ensemble = Ensemble(plan_of(seed, 3, 0, ("isolation", "partition", "kill")), sources_of(seed), protocol)
        ensemble.run()
        conflicts += ensemble.packets.get("CONFLICT", 0)
    assert conflicts


@pytest.mark.thorough  # test_ensemble.py shows it of the ground that both stand on
def test_a_seed_repeats():
    assert run_seed(1, protocol="raft").trace == run_seed(1, protocol="raft").trace


@pytest.mark.replay
def test_one_seed(pytestconfig):
    replay(pytestconfig, "raft")


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_hunt(pytestconfig, capsys):
    hunt(pytestconfig, capsys, "raft", EXPECTED)
