"""Virtual time: future events in order. Nothing waits; the clock jumps to the next event."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from recipes.core.sim.chance import Random

Action = Callable[..., None]


class Timeline:
    """A heap of events.

    chance: decides the order of events at the same time.
    now_us: virtual time in µs. events: how many have happened.
    """

    __slots__ = ("_chance", "_count", "_heap", "events", "now_us")

    def __init__(self, chance: Random) -> None:
        self.now_us: int = 0
        self.events: int = 0
        self._count = 0
        self._chance = chance
        self._heap: list[tuple[int, float, int, Action, tuple[Any, ...]]] = []

    def at(self, when_us: int, action: Action, *args: Any) -> None:
        """Call `action(*args)` at that time, or now if that time is past."""
        self._count += 1
        # Events at the same time come in random order; the count only keeps the heap from comparing actions.
        heappush(self._heap, (max(when_us, self.now_us), self._chance.random(), self._count, action, args))

    def after(self, delay_us: int, action: Action, *args: Any) -> None:
        """Call `action(*args)` after a delay."""
        self.at(self.now_us + delay_us, action, *args)

    def step(self) -> bool:
        """Run the next event; False when there is none."""
        if not self._heap:
            return False
        self.now_us, _, _, action, args = heappop(self._heap)
        self.events += 1
        action(*args)
        return True

    def run_until(self, when_us: int) -> None:
        """Run all events up to that time."""
        heap = self._heap
        while heap and heap[0][0] <= when_us:
            self.step()
        self.now_us = max(self.now_us, when_us)
