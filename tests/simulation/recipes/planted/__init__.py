"""Bugs to be planted in recipes: what Curator, kazoo and others have had, what we had, and what we feared.

`seed` finds each in the steps of `recipe`, by the property that it `breaks`; see tests/simulation/planted for those in
the servers. A bug of a recipe to come is a function more.
"""

from tests.simulation.recipes.planted import (
    barriers,
    caches,
    counters,
    holds,
    memberships,
    queues,
    renewals,
    shares,
    successions,
    transactions,
)
from tests.simulation.recipes.planted.bug import PLANTED

__all__ = [
    "PLANTED", "barriers", "caches", "counters", "holds", "memberships", "queues", "renewals", "shares", "successions",
    "transactions",
]  # fmt: skip
