"""How long to wait between attempts."""

from collections.abc import Iterator
from random import Random

import anyio
import anyio.lowlevel


def pauses(
    random: Random, *, shortest: float, longest: float, factor: float = 2.0, least: float = 0.0
) -> Iterator[float]:
    """Seconds to wait before each next attempt: a random part of a limit that grows from `shortest` to `longest`.

    random: the client's own, so that a run with a seed repeats. The random part keeps clients from coming back all at
    once (Exponential Backoff And Jitter, AWS Architecture Blog, 2015).
    factor: by which the limit grows. least: the smallest part of the limit, 0 to 1.
    """
    limit = shortest
    while True:
        yield random.uniform(least * limit, limit)
        limit = min(limit * factor, longest)


class Backoff:
    """The second try comes at once, each later one after a pause: from 0.02 s doubling to 2 s, shortened at random.

    failures: how many tries have failed.
    """

    __slots__ = ("_pauses", "failures")

    def __init__(self, random: Random) -> None:
        self._pauses: Iterator[float] = pauses(random, shortest=0.02, longest=2.0, least=0.5)
        self.failures: int = 0

    async def pause(self) -> None:
        """A try has failed: return when it is time for the next."""
        self.failures += 1
        if self.failures == 1:
            await anyio.lowlevel.checkpoint()
        else:
            await anyio.sleep(next(self._pauses))
