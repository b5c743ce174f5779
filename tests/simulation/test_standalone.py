"""Crash and restart of a server alone, many seeds: nothing acknowledged is lost, and a seed repeats exactly."""

import os
import subprocess
import sys
from random import Random

import pytest

from recipes.core.disk.txnlog import TxnLog
from recipes.core.errors import InvariantBroken
from recipes.core.sim.world import World
from tests.seeds import seeds

STEPS = 400


def world_of(seed):
    return World(lambda purpose: Random(f"{seed}/{purpose}"))


@pytest.mark.parametrize("batch", seeds(10, quick=3))
def test_nothing_acknowledged_is_lost(batch):
    counts: dict[str, int] = {}
    for seed in range(batch * 10, batch * 10 + 10):
        world = world_of(seed)
        world.run(STEPS)
        for what, count in world.counts.items():
            counts[what] = counts.get(what, 0) + count
    for what in ("create", "create2", "setData", "delete", "getData", "multi", "flush", "tick", "snapshot", "crash"):
        assert counts[what] > 0, f"{what} never happened"


def test_the_same_seed_gives_the_same_history_under_another_hash_seed():
    program = (
        "from random import Random\nfrom recipes.core.sim.world import World\n"
        "world = World(lambda purpose: Random(f'7/{purpose}'))\nworld.run(400)\nprint(world.trace)"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(traces) == 1


def test_a_reply_before_the_sync_is_found(monkeypatch):
    monkeypatch.setattr(TxnLog, "sync", lambda self: None)
    with pytest.raises(InvariantBroken, match="acknowledged"):
        for seed in range(100):
            world_of(seed).run(STEPS)
