"""Epochs, which the notes call so and Paxos calls numbers of proposals: a larger one is newer.

An epoch is a pair of a number and an id. The notes take the clock's time as the number and have no id: two proposers
may then have the same epoch, and a slow clock is always too old (`epochs="clock"`). `epochs="counter"` is a durable
counter with the proposer's id, so that an epoch belongs to one proposer.
"""

from collections.abc import Callable
from typing import Any

from recipes.core.agree.machine import Machine

Epoch = tuple[int, str]
NO_EPOCH: Epoch = (0, "")


def epoch_of(value: Any) -> Epoch:
    """An epoch as it came from a disk or in a message."""
    return (value[0], value[1]) if value is not None else NO_EPOCH


class Epochs:
    """Where a proposer's epochs come from."""

    def __init__(self, owner: Machine) -> None:
        self._owner = owner
        self._seen = 0

    def saw(self, epoch: Epoch) -> None:
        """Somebody has this epoch: the next one of ours is to be newer."""
        self._seen = max(self._seen, epoch[0])

    def choose(self, then: Callable[[Epoch], None]) -> None:
        """Call `then` with a new epoch: at once, or when the counter is on disk, so that no epoch is used twice."""
        owner = self._owner
        if owner.setting("epochs", "counter") == "clock":
            then((owner.now_ms, ""))
            return
        number = max(owner.stored.get("counter", 0), self._seen) + 1
        owner.write("counter", number, lambda: then((number, owner.me)))
