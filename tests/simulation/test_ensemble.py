"""Whole ensembles under every kind of fault: nothing committed is lost, clients see what they are promised.

One seed: `pytest tests/simulation/test_ensemble.py -k one_seed --seed 4711 [--ensemble 5+1] [--shrink]`.
A hunt, on all cores, that can be interrupted and goes on where it was: `pytest tests/simulation/test_ensemble.py
-m soak --seeds 1-5000 [--ensemble 5+1]`; it appends a line per seed to soak-ensemble.jsonl. Seeds that failed, and
those of another commit or of changed files, are run again.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from recipes.core.jute.quorum import COMMITANDACTIVATE, INFORMANDACTIVATE, PACKET_NAMES
from recipes.core.member.config import MemberConfig
from recipes.core.sim import ensemble as simulated
from recipes.core.sim.clients import KINDS
from recipes.core.sim.plan import FAULTS
from recipes.core.sim.zab_rules import STATE_NAMES
from recipes.core.turn import Turn
from tests.simulation.conftest import OPERATIONS, plan_of, replay_command, run_seed, shrunk, take_small_slices
from tests.simulation.soak import add_rows, commit_of, earlier_rows, totals

SOAK_FILE = Path("soak-ensemble.jsonl")
OBSERVED_ONLY = ("OBSERVERINFO", "INFORM", "OBSERVING", "role observer")  # never without an observer
PACKETS = [name for kind, name in PACKET_NAMES.items() if kind not in (COMMITANDACTIVATE, INFORMANDACTIVATE)]
EXPECTED = (
    *FAULTS, *dict.fromkeys(KINDS), *PACKETS, *STATE_NAMES.values(), "role leader", "role follower",
    "role observer", "role looking", "Cell", "Truncate", "InstallSnapshot", "snapshot", "unsure", "no space",
    "end by disk", "session moved", "session expired", "setWatches", "event", "write lost", "write kept", "write cut",
    "write torn by sectors", "clock drift",
)  # fmt: skip
ENOUGH = 200  # seeds for all of it to happen, with three voters or more


def run_all(seeds, servers, observers):
    counts: dict[str, int] = {}
    for seed in seeds:
        verdict = run_seed(seed, servers, observers)
        if verdict.problem is not None:
            notes = "\n".join(verdict.notes[-40:])
            pytest.fail(f"{verdict.problem}\n{notes}\nreplay with: {replay_command(seed, servers, observers)}")
        for what, count in verdict.counts.items():
            counts[what] = counts.get(what, 0) + count
    return counts


def never_happened(counts, observers):
    return [what for what in EXPECTED if not counts.get(what) and (observers or what not in OBSERVED_ONLY)]


@pytest.mark.parametrize("ensemble", [(3, 0), (5, 1)], ids=str)
def test_some_seeds(ensemble):
    counts = run_all(range(1, 11 if ensemble == (3, 0) else 4), *ensemble)
    assert counts["kill"] and counts["role leader"]


def test_sessions_end_in_slices_while_anything_else_happens(monkeypatch):
    monkeypatch.setattr(simulated, "MemberConfig", partial(MemberConfig, many_ephemerals=0, turn_units=1))
    waiting = []
    carry_out = Turn.carry_out  # which is never compiled, and so can be replaced
    monkeypatch.setattr(
        Turn, "carry_out", lambda turn: waiting.append(len(turn.member.commits.behind)) or carry_out(turn)
    )
    assert run_all(range(1, 9), 3, 0)["session expired"]
    assert sum(map(bool, waiting)) > 20


# The next two take a minute of processor time each: it takes many seeds for everything to have happened once.


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_three_servers():
    assert never_happened(run_all(range(1, 201), 3, 0), 0) == []


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_five_servers_and_an_observer():
    assert never_happened(run_all(range(1, 51), 5, 1), 1) == []


def test_each_seed_has_its_share_of_operations():
    assert all(len(plan_of(seed, 3, 0).operations) == OPERATIONS >= 200 for seed in range(1, 20))


@pytest.mark.parametrize("ensemble", [(3, 0), pytest.param((5, 1), marks=pytest.mark.thorough)], ids=str)
def test_the_same_seed_gives_the_same_history_under_another_hash_seed(ensemble):
    program = (
        "from tests.simulation.conftest import run_seed\n"
        f"print(*[run_seed(seed, *{ensemble}).trace for seed in range(1, 4)])"
    )
    traces = {
        subprocess.run(
            [sys.executable, *flags, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, flags in (("1", ()), ("2", ("-O",)))
    }
    assert len(traces) == 1


@pytest.mark.replay
def test_one_seed(pytestconfig):
    seed = pytestconfig.getoption("--seed")
    servers, observers = map(int, pytestconfig.getoption("--ensemble").split("+"))
    verdict = run_seed(seed, servers, observers)
    if verdict.problem is None:
        return
    report = "\n".join([*verdict.notes, verdict.problem])
    if pytestconfig.getoption("--shrink"):
        plan, smaller = shrunk(seed, servers, observers)
        lines = [str(each) for each in (*plan.faults, *plan.operations, plan._replace(faults=[], operations=[]))]
        report = "\n".join([*smaller.notes, smaller.problem or "", *lines])
    pytest.fail(f"{report}\nreplay with: {replay_command(seed, servers, observers)}", pytrace=False)


# The hunt.


def hunt_one(task):
    seed, servers, observers = task
    take_small_slices()
    verdict = run_seed(seed, servers, observers)
    row = {"ensemble": f"{servers}+{observers}", "seed": seed, "problem": verdict.problem, "events": verdict.events}
    row |= {"virtual_ms": verdict.at_us // 1000, "recovered_ms": verdict.recovered_us // 1000}
    return row | {"never": never_happened(verdict.counts, observers)}


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
    assert [f"{replay_command(seed, servers, observers)}: {broken[seed]}" for seed in sorted(broken)] == []
    if len(rows) >= ENOUGH and servers >= 3:
        assert [what for what in EXPECTED if all(what in row["never"] for row in rows)] == []
