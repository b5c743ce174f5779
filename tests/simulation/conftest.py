"""Runs of simulated ensembles: one seed, one plan, one history."""

from random import Random

import pytest

from recipes.core.disk import snapshot
from recipes.core.protocols import DEFAULT
from recipes.core.replicas import wire
from recipes.core.sim.hunt import Verdict, shrink, try_plan
from recipes.core.sim.plan import Plan, draw_plan

OPERATIONS = 250


def sources_of(seed):
    return lambda purpose: Random(f"{seed}/{purpose}")


def plan_of(seed: int, servers: int, observers: int, kinds: tuple[str, ...] = ()) -> Plan:
    return draw_plan(sources_of(seed), servers, observers, OPERATIONS, kinds)


def plan_alone(seed: int) -> Plan:
    return draw_plan(sources_of(seed), operations=OPERATIONS, alone=True)


def run_seed(
    seed: int, servers: int = 3, observers: int = 0, kinds: tuple[str, ...] = (), protocol: str = DEFAULT
) -> Verdict:
    return try_plan(plan_of(seed, servers, observers, kinds), sources_of(seed), protocol)


def run_alone(seed: int) -> Verdict:
    return try_plan(plan_alone(seed), sources_of(seed))


def replay_command(seed: int, servers: int, observers: int, protocol: str = DEFAULT) -> str:
    files = {DEFAULT: "test_ensemble.py", "multi-paxos": "test_paxos.py", "primary-backup": "test_primary_backup.py"}
    where = files.get(protocol, f"test_{protocol}.py")
    return f"pytest tests/simulation/{where} -k one_seed --seed {seed} --ensemble {servers}+{observers}"


def shrunk(
    seed: int, servers: int, observers: int, protocol: str = DEFAULT, kinds: tuple[str, ...] = ()
) -> tuple[Plan, Verdict]:
    return shrink(plan_of(seed, servers, observers, kinds), sources_of(seed), protocol=protocol)


def take_small_slices() -> None:
    """Trees and logs are small here: send them in many parts all the same, so that things change meanwhile."""
    snapshot._SLICE_NODES = 3
    wire.BATCH_BYTES = 200


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    monkeypatch.setattr(snapshot, "_SLICE_NODES", 3)
    monkeypatch.setattr(wire, "BATCH_BYTES", 200)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Replaying one seed is for whoever names it."""
    if config.getoption("--seed") is None:
        replays = [item for item in items if item.get_closest_marker("replay")]
        config.hook.pytest_deselected(items=replays)
        items[:] = [item for item in items if not item.get_closest_marker("replay")]
