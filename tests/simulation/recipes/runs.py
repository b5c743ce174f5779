"""One seed, one verdict: what the tests of this folder, and the hunts, begin with."""

from random import Random
from typing import NamedTuple

from recipes.core.errors import InvariantBroken
from tests.simulation.recipes.barriers import Barriers
from tests.simulation.recipes.caches import Caches
from tests.simulation.recipes.counters import Counters
from tests.simulation.recipes.elections import Elections
from tests.simulation.recipes.leases import Leases
from tests.simulation.recipes.locks import Locks
from tests.simulation.recipes.memberships import Memberships
from tests.simulation.recipes.plan import draw_recipe_plan
from tests.simulation.recipes.queues import Queues
from tests.simulation.recipes.renewals import RenewedCaches, RenewedElections, RenewedQueues
from tests.simulation.recipes.rwlocks import NamedReadWriteLocks, ReadWriteLocks
from tests.simulation.recipes.semaphores import Semaphores
from tests.simulation.recipes.successions import Successions
from tests.simulation.recipes.transactions import Transactions
from tests.simulation.recipes.world import World

WORKLOADS = {
    "lock": Locks,
    "rwlock": ReadWriteLocks,
    "semaphore": Semaphores,
    "election": Elections,
    "succession": Successions,
    "queue": Queues,
    "counter": Counters,
    "cache": Caches,
    "transaction": Transactions,
    "naming": NamedReadWriteLocks,
    "renewed-election": RenewedElections,
    "renewed-queue": RenewedQueues,
    "renewed-cache": RenewedCaches,
    "barrier": Barriers,
    "membership": Memberships,
    "lease": Leases,
}


class Verdict(NamedTuple):
    """What a run showed; see recipes.core.sim.hunt."""

    problem: str | None
    counts: dict[str, int]
    events: int
    at_us: int
    trace: str
    notes: list[str]

    @property
    def broken(self):
        return self.problem.split()[0] if self.problem else ""


def sources_of(seed):
    return lambda purpose: Random(f"{seed}/{purpose}")


def plan_of(seed, recipe, voters=3, faults=None):
    return draw_recipe_plan(sources_of(seed), WORKLOADS[recipe].kinds, voters, faults=faults)


def run_seed(seed, recipe, voters=3, faults=None):
    return try_plan(plan_of(seed, recipe, voters, faults), seed, recipe)


def try_plan(plan, seed, recipe):
    world = World(plan, sources_of(seed), WORKLOADS[recipe])
    problem = None
    try:
        world.run()
    except InvariantBroken as error:
        problem = str(error)
    ensemble = world.ensemble
    return Verdict(
        problem, ensemble.all_counts(), ensemble.events, ensemble.timeline.now_us, ensemble.trace, list(ensemble.notes)
    )


def replay_command(seed, recipe):
    return f"pytest tests/simulation/test_recipes.py -k one_seed --seed {seed} --recipe {recipe}"
