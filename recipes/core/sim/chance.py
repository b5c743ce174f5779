"""Random sources. The simulation has none of its own: each is an argument, so that a run with the same seed repeats."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Random(Protocol):
    """The methods of random.Random that the simulation uses."""

    def random(self) -> float:
        """A number from 0 to 1."""
        ...

    def randrange(self, stop: int, /) -> int:
        """A number from 0 to `stop` - 1."""
        ...

    def choice(self, seq: Sequence[T], /) -> T:
        """One of a sequence."""
        ...


# Makes the source for a purpose, for example `lambda purpose: random.Random(f"{seed}/{purpose}")`. Each purpose has its
# own source, so that one more draw for one purpose does not change the others.
Sources = Callable[[str], Random]


def between(chance: Random, low: int, high: int) -> int:
    """A number from `low` to `high`, both included."""
    return low + chance.randrange(high - low + 1)


def happens(chance: Random, probability: float) -> bool:
    """True with this probability."""
    return chance.random() < probability
