"""Ids: each number is given out once, over all processes and for ever."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self

import anyio

from recipes.core.errors import BadArguments, MalformedValue
from recipes.counter.counter import Counter

if TYPE_CHECKING:
    from recipes.core.client.client import Client

LARGEST_ID = (1 << 63) - 1  # of signed 64-bit integers, such as a database's bigint


class IdGenerator(AsyncIterator[int]):
    """Ids from 1 to 2**63 - 1, each given out once by all generators at `path`. `async for id in ids`, or `next()`.

    client: a connected Client. path: of the counter of reserved ids, made when it is missing.
    block: how many ids are reserved with one write. They belong to this generator alone, whatever becomes of its
    session, and are never given out again. Ids that it does not use are skipped.

    The ids of one generator rise. The ids of two generators do not show which was given out first. Never delete `path`:
    ids would repeat. A generator that sees its counter go back raises MalformedValue.
    """

    def __init__(self, client: "Client", path: str, *, block: int = 1000) -> None:
        if isinstance(block, bool) or not isinstance(block, int) or not 1 <= block <= 1 << 40:
            raise BadArguments(path, f"block={block!r}: expected a whole number from 1 to {1 << 40}")
        self._client = client
        self._path = path
        self._block = block
        self._counter = Counter(client, path, start=1)
        self._reserving = anyio.Lock(fast_acquire=True)
        self._next = 0
        self._end = 0

    def __repr__(self) -> str:
        return f"IdGenerator({self._path!r}, block={self._block})"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        return await self.next()

    async def next(self) -> int:
        """The next id. The call waits only when a block has to be reserved.

        Any number of tasks may call it. A cancellation wastes at most a block of ids. Raises OverflowError
        when all ids are used up, RuntimeError in another thread, event loop or forked process than the client's,
        MalformedValue for other data at `path`, and what every write of the client raises.
        """
        self._client.home.check()  # two threads would get the same id, and a forked child has a copy of our block
        while self._next >= self._end:
            async with self._reserving:
                if self._next >= self._end:
                    self._next, self._end = await self._counter.update(self._reserve)
        found = self._next
        self._next += 1
        return found

    def _reserve(self, first_free: int) -> int:
        if first_free < max(1, self._end):
            message = f"it stands at {first_free}, and ids below {max(1, self._end)} were given out"
            raise MalformedValue(self._path, message)
        if first_free > LARGEST_ID:
            raise OverflowError(f"{self._path}: all ids up to 2**63 - 1 are used up")
        return min(first_free + self._block, LARGEST_ID + 1)
