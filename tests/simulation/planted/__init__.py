"""Bugs to be planted, each by patching the product's code: what ZooKeeper has had, what we had, and what we feared.

`seed` finds it, by the property that it `breaks`, in an ensemble of `servers` voters and `observers`, under faults of
these `kinds` only where any are named: some bugs need a rare one often. Without a seed only the hunt in test_planted.py
has to find it.
"""

from tests.simulation.planted import clients, disk, election, history, sessions, turn
from tests.simulation.planted.bug import PLANTED

__all__ = ["PLANTED", "clients", "disk", "election", "history", "sessions", "turn"]
