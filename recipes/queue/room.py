"""The bound of a queue with a capacity: two counters, of which a put's multi checks one.

`puts` holds how many items were ever put, and a put sets it with the version it read: of two that go at once one is
refused. `acks` is set once for each item that leaves, so that its version counts them; nobody needs to agree for that.
An old `acks` only makes the queue look fuller than it is, so that a put never exceeds the capacity.
"""

from typing import TYPE_CHECKING

import anyio

from recipes.core.errors import LockLost, NoNode, QueueFull
from recipes.lock.lock import Lock
from recipes.queue.buckets import replace
from recipes.writer import make_path

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.writer import Operation

_LOOK_SECONDS = 2.0  # between looks of those that wait behind another one for room
_WRAP = 1 << 32  # versions are 32 bits


class Room:
    """How many items there may be at `path`. capacity: None is no bound."""

    def __init__(self, client: "Client", path: str, capacity: int | None) -> None:
        self.capacity = capacity
        self._client = client
        self._path = path
        self._puts, self._acks = f"{path}/puts", f"{path}/acks"

    async def make(self) -> None:
        """Make the counters, where there is a capacity."""
        if self.capacity is not None:
            await make_path(self._client, self._puts)
            await make_path(self._client, self._acks)

    async def reserve(self, count: int) -> "list[Operation]":
        """What goes into the multi of a put of `count` items. Raises QueueFull when there is no room now."""
        if self.capacity is None:
            return []
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
        return [replace(self._puts, str(put + count).encode(), stat.version)]

    def freed(self) -> "list[Operation]":
        """What goes into the multi with which one item leaves."""
        return [] if self.capacity is None else [replace(self._acks, b"")]

    async def wait(self, count: int) -> None:
        """Return once there may be room. Those that wait stand in line: an item that leaves wakes one of them."""
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
            except LockLost:  # somebody broke the line, or the session is over, which the next request tells
                pass
            if reserved:
                return
            try:
                await self.reserve(count)
            except QueueFull:
                continue
            return
