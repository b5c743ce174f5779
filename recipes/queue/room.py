"""The bound of a queue with a capacity: two counters, of which a put's multi checks one.

The data of `puts` say how many items were ever put. A put sets `puts` with the version it read, so of two simultaneous
puts one is refused. Each item that leaves sets `acks`, so the version of `acks` counts them; these writes never
conflict. An outdated `acks` makes the queue look fuller than it is, so a put never exceeds the capacity.
"""

from typing import TYPE_CHECKING

import anyio

from recipes.core.errors import LockLost, NoNode, QueueFull
from recipes.lock.lock import Lock
from recipes.writer import make_path

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi

_LOOK_SECONDS = 2.0  # between two looks of a put that waits behind others for room
_WRAP = 1 << 32  # versions are 32 bits


class Room:
    """The capacity of the queue at `path`. capacity: number of items; None for no bound."""

    def __init__(self, client: "Client", path: str, capacity: int | None) -> None:
        self.capacity = capacity
        self._client = client
        self._path = path
        self._puts, self._acks = f"{path}/puts", f"{path}/acks"

    async def make(self) -> None:
        """Create the counters if there is a capacity."""
        if self.capacity is not None:
            await make_path(self._client, self._puts)
            await make_path(self._client, self._acks)

    async def reserve(self, count: int) -> "Multi":
        """The operations that a put of `count` items also needs. Raises QueueFull when there is no room now."""
        multi = self._client.multi()
        if self.capacity is None:
            return multi
        if count > self.capacity:
            raise QueueFull(self._path, f"{count} items at once never fit into capacity={self.capacity}")
        try:
            data, stat = await self._client.get(self._puts)
            acks = await self._client.exists(self._acks)
        except NoNode:
            await self.make()
            return await self.reserve(count)
        put = int(data or b"0")
        inside = (put - (acks.version if acks else 0)) % _WRAP
        if inside + count > self.capacity:
            raise QueueFull(self._path, f"{inside} items, capacity={self.capacity}")
        multi.set(self._puts, str(put + count).encode(), stat.version)
        return multi

    def free(self, multi: "Multi") -> None:
        """Append what is needed where one item leaves."""
        if self.capacity is not None:
            multi.set(self._acks, b"")

    async def wait(self, count: int) -> None:
        """Return once there may be room. Puts that wait stand in line: an item that leaves wakes one of them."""
        while True:
            reserved = False
            try:
                with anyio.move_on_after(_LOOK_SECONDS) as limit:
                    async with Lock(self._client, f"{self._path}/room"):
                        limit.deadline = float("inf")
                        while not reserved:
                            _, watch = await self._client.exists_watch(self._acks)
                            try:
                                await self.reserve(count)
                                reserved = True
                            except QueueFull:
                                await watch.wait()
                            finally:
                                watch.cancel()
            except LockLost:  # somebody broke the line, or the session is over and the next request raises
                pass
            if reserved:
                return
            try:
                await self.reserve(count)
            except QueueFull:
                continue
            return
