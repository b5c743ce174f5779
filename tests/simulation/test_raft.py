"""Ensembles that run raft, under every kind of fault, in the simulation that ZAB runs in.

One seed: `pytest tests/simulation/test_raft.py -k one_seed --seed 4711 [--ensemble 5+1] [--shrink]`. A hunt, as in
test_ensemble.py: `pytest tests/simulation/test_raft.py -m soak --seeds 1-5000`, into soak-raft.jsonl.
"""

from pathlib import Path

import pytest

from recipes.core.raft.options import RaftOptions
from recipes.core.raft.peer import RaftPeer
from recipes.core.replicas.ballots import Kind
from recipes.core.replicas.wire import NAMES
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.plan import FAULTS
from recipes.core.sim.protocols import find_simulated
from tests.simulation.conftest import plan_of, replay_command, run_seed, shrunk, sources_of, take_small_slices
from tests.simulation.soak import add_rows, commit_of, earlier_rows, totals

SOAK_FILE = Path("soak-raft.jsonl")
# Only servers of different lists send the first. The second takes logs that part twice, or a search by single entries.
RARE = ("REFUSED", "CONFLICT")
KINDS = [kind.name for kind in Kind if kind is not Kind.PREPARE]
EXPECTED = (
    *FAULTS, *(name for name in NAMES.values() if name not in RARE), *KINDS, "role leader",
    "role follower", "role looking", "Cell", "Truncate", "InstallSnapshot", "snapshot", "unsure", "no space",
    "end by disk", "session moved", "session expired", "event",
)  # fmt: skip
ENOUGH = 200  # seeds for all of it to happen


def run_all(seeds, servers, observers):
    counts: dict[str, int] = {}
    for seed in seeds:
        verdict = run_seed(seed, servers, observers, protocol="raft")
        if verdict.problem is not None:
            notes = "\n".join(verdict.notes[-40:])
            command = replay_command(seed, servers, observers, "raft")
            pytest.fail(f"{verdict.problem}\n{notes}\nreplay with: {command}")
        for what, count in verdict.counts.items():
            counts[what] = counts.get(what, 0) + count
    return counts


@pytest.mark.parametrize("ensemble", [(3, 0), pytest.param((5, 1), marks=pytest.mark.thorough)], ids=str)
def test_some_seeds(ensemble):
    counts = run_all(range(1, 3 if ensemble == (3, 0) else 2), *ensemble)
    assert counts["role leader"] and counts["APPEND"]


@pytest.mark.thorough  # ten seconds of processor time
def test_more_seeds():
    counts = run_all(range(3, 28), 3, 0)
    for what, count in run_all(range(2, 6), 5, 1).items():
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
    seed = pytestconfig.getoption("--seed")
    servers, observers = map(int, pytestconfig.getoption("--ensemble").split("+"))
    verdict = run_seed(seed, servers, observers, protocol="raft")
    if verdict.problem is None:
        return
    report = "\n".join([*verdict.notes, verdict.problem])
    if pytestconfig.getoption("--shrink"):
        plan, smaller = shrunk(seed, servers, observers, "raft")
        lines = [str(each) for each in (*plan.faults, *plan.operations, plan._replace(faults=[], operations=[]))]
        report = "\n".join([*smaller.notes, smaller.problem or "", *lines])
    pytest.fail(f"{report}\nreplay with: {replay_command(seed, servers, observers, 'raft')}", pytrace=False)


# The hunt.


def hunt_one(task):
    seed, servers, observers = task
    take_small_slices()
    verdict = run_seed(seed, servers, observers, protocol="raft")
    row = {"ensemble": f"{servers}+{observers}", "seed": seed, "problem": verdict.problem, "events": verdict.events}
    row |= {"virtual_ms": verdict.at_us // 1000, "recovered_ms": verdict.recovered_us // 1000}
    return row | {"never": [what for what in EXPECTED if not verdict.counts.get(what)]}


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_hunt(pytestconfig, capsys):
    first, _, last = pytestconfig.getoption("--seeds").partition("-")
    ensemble = pytestconfig.getoption("--ensemble")
    servers, observers = map(int, ensemble.split("+"))
    seeds, commit = range(int(first), int(last) + 1), commit_of()
    earlier = [row for row in earlier_rows(SOAK_FILE, commit) if row["ensemble"] == ensemble and not row["problem"]]
    done = {row["seed"]: row for row in earlier if row["seed"] in seeds}
    tasks = [(seed, servers, observers) for seed in seeds if seed not in done]
    rows = [*done.values(), *add_rows(SOAK_FILE, commit, hunt_one, tasks)]
    with capsys.disabled():
        print(f"\n{ensemble}: {totals(commit, rows)}")  # noqa: T201
    broken = {row["seed"]: row["problem"] for row in rows if row["problem"]}
    commands = {seed: replay_command(seed, servers, observers, "raft") for seed in broken}
    assert [f"{commands[seed]}: {broken[seed]}" for seed in sorted(broken)] == []
    if len(rows) >= ENOUGH and servers >= 3:
        assert [what for what in EXPECTED if all(what in row["never"] for row in rows)] == []
