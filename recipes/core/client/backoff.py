"""Pauses between tries that fail."""

from random import Random

import anyio
import anyio.lowlevel

_SHORTEST_S = 0.02
_LONGEST_S = 2.0


class Backoff:
    """The second try comes at once, each later one after a pause: from 0.02 s doubling to 2 s, shortened at random.

    failures: how many tries have failed.
    """

    __slots__ = ("_random", "failures")

    def __init__(self, random: Random) -> None:
        self._random = random
        self.failures = 0

    async def pause(self) -> None:
        """A try has failed: return when it is time for the next."""
        self.failures += 1
        if self.failures == 1:
            await anyio.lowlevel.checkpoint()
            return
        longest = min(_SHORTEST_S * 2.0 ** min(self.failures - 2, 10), _LONGEST_S)
        await anyio.sleep(self._random.uniform(longest / 2, longest))
