"""A server alone in the simulator, many seeds: nothing acknowledged is lost, and a seed repeats exactly."""

import os
import subprocess
import sys

import pytest

from recipes.core.disk.txnlog import TxnLog
from recipes.core.sim.clients import KINDS
from recipes.core.sim.plan import FAULTS_ALONE
from tests.simulation.conftest import run_alone
from tests.simulation.planted.turn import what_a_sync_brings_about_goes_out_before_it

EXPECTED = (
    *KINDS, *FAULTS_ALONE, "snapshot", "no space", "end by disk", "event", "session expired", "write lost",
    "write kept", "write cut", "write torn by sectors",
)  # fmt: skip


def run_all(first, last):
    counts: dict[str, int] = {}
    for seed in range(first, last):
        verdict = run_alone(seed)
        assert verdict.problem is None, (seed, verdict.problem, verdict.notes[-40:])
        for what, count in verdict.counts.items():
            counts[what] = counts.get(what, 0) + count
    return counts


def test_some_seeds():
    counts = run_all(1, 7)
    assert counts["kill"] and counts["power cut"] and counts["snapshot"]


@pytest.mark.thorough  # it takes many seeds for everything to have happened once
def test_nothing_acknowledged_is_lost():
    counts = run_all(1, 71)
    assert [what for what in EXPECTED if not counts.get(what)] == []


@pytest.mark.thorough  # test_ensemble.py shows the same of the same code
def test_the_same_seed_gives_the_same_history_under_another_hash_seed():
    program = "from tests.simulation.conftest import run_alone\nprint(*[run_alone(seed).trace for seed in (1, 2, 3)])"
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(traces) == 1


def test_a_log_that_is_never_synced_is_found(monkeypatch):
    monkeypatch.setattr(TxnLog, "sync", lambda self: None)
    assert run_alone(1).broken == "Z9"


def test_a_reply_before_the_sync_is_found(monkeypatch):
    what_a_sync_brings_about_goes_out_before_it(monkeypatch)
    assert run_alone(1).broken == "Z2"  # it shows a txn that it has not even begun to log
