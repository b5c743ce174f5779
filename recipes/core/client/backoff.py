"""How long to wait between attempts."""

from collections.abc import Iterator
from random import Random

import anyio
import anyio.lowlevel

_SHORTEST_S = 0.02
_LONGEST_S = 2.0


def pauses(random: Random, *, shortest: float, longest: float, factor: float) -> Iterator[float]:
    """Seconds to wait before each next attempt: a random part of a limit that grows from `shortest` to `longest`.

    random: the client's own, so that a run with a seed repeats. The random part keeps clients from coming back all at
    once (Exponential Backoff And Jitter, AWS Architecture Blog, 2015: full jitter).
    """
    limit = shortest
    while True:
        yield random.uniform(0, limit)
        limit = min(limit * factor, longest)


class Backoff:
    """For requests that are tried again: the second try comes at once, each later one after a pause of up to 2 seconds.

    failures: how many tries have failed.
    """

    __slots__ = ("_pauses", "failures")

    def __init__(self, random: Random) -> None:
        self._pauses: Iterator[float] = pauses(random, shortest=_SHORTEST_S, longest=_LONGEST_S, factor=2.0)
        self.failures: int = 0

    async def pause(self) -> None:
        """A try has failed: return when it is time for the next."""
        self.failures += 1
        if self.failures == 1:
            await anyio.lowlevel.checkpoint()
        else:
            await anyio.sleep(next(self._pauses))
