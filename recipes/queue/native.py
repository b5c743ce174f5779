"""The znodes of a queue in our own layout, and the operations that put and move items.

/q             the queue's settings
/q/items       buckets, see buckets.py; in them items, claims and counts of deliveries, see claims.py
/q/clients     a znode for each client that writes, see recipes/writer.py
/q/keys        256 folders, with a znode for each key
/q/puts, acks  counters of a queue with a capacity, see room.py
/q/waiting     the line of consumers that wait for items
/q/dead        the queue of the dead letters
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio

from recipes.core import paths
from recipes.core.errors import (
    BadArguments,
    BadVersion,
    ConnectionLoss,
    NodeExists,
    NoNode,
    QueueFull,
    RecipesError,
    invariant,
)
from recipes.queue import claims
from recipes.queue.buckets import Buckets
from recipes.queue.records import Put, Record, encode, key_name
from recipes.queue.room import Room
from recipes.writer import MOST_BYTES, Write, Writer, make_path

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi

_CLOCK_SECONDS = 60.0  # after which the servers' clock is read again
_FORMAT = "recipes queue 1"
_CREATED = Put(True)
_MOST_TRIES = 100  # of a put that conflicts with others


class Native:
    """A queue's znodes below `path`, for one client. capacity: as the caller gave it, None if it was not given.

    parent: the queue of these dead letters; None for a queue.
    """

    def __init__(
        self, client: "Client", path: str, capacity: int | None = None, parent: "Native | None" = None
    ) -> None:
        self.client = client
        self.path: str = paths.check(path)
        self.clients: str = f"{path}/clients"
        self.buckets: Buckets = Buckets(client, f"{path}/items")
        self.who: bytes = client.process_name.encode()
        # One multi moves an item between the queue and its dead letters, so both share one writer.
        self.writer: Writer = Writer(client, self.clients, self.who) if parent is None else parent.writer
        self.room: Room = Room(client, path, None)
        self._keys: str = f"{path if parent is None else parent.path}/keys"  # a dead letter's key stays the queue's
        self._capacity = capacity
        self._prepared = False
        self._one_put = anyio.Lock()

    async def prepare(self) -> None:
        """Create missing znodes. Raises BadArguments when the queue was made with another capacity."""
        if self._prepared:
            return
        settings: dict[str, object] = {"format": _FORMAT}
        if self._capacity is not None:
            settings["capacity"] = self._capacity
        await make_path(self.client, f"{self.path}/items")
        try:
            data, stat = await self.client.get(self.path)
            if not data:
                try:
                    await self.client.set(self.path, json.dumps(settings).encode(), stat.version)
                except (BadVersion, ConnectionLoss):
                    data, _ = await self.client.get(self.path)
            stored: Any = json.loads(data) if data else settings
        except ValueError as error:
            raise BadArguments(self.path, f"expected the settings of a queue, found the data {data[:60]!r}") from error
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
            raise BadArguments(self.path, f"expected {_FORMAT!r}, its data says {stored!r}")
        capacity: int | None = stored.get("capacity")
        if self._capacity is not None and capacity != self._capacity:
            raise BadArguments(self.path, f"capacity={self._capacity}: the queue was made with capacity={capacity}")
        self.room = Room(self.client, self.path, capacity)
        await self.room.make()
        await self.writer.prepare()
        self._prepared = True

    async def put(self, records: Sequence[Record], *, delay: float, priority: int, within: float | None) -> Put:
        """Put items, all of them or none. A single item with a key that is in the queue already is not put.

        within: seconds to wait for room at most, None for no limit. Raises QueueFull, and BadArguments when the items
        are too large together.
        """
        await self.prepare()
        due_ms = 0
        if delay > 0:
            await self.fresh_clock()
            due_ms = self.writer.server_clock.not_after_ms() + int(delay * 1000)
        encoded = [encode(record) for record in records]
        size = sum(map(len, encoded))
        if size + 200 * len(encoded) > MOST_BYTES:
            raise BadArguments(self.path, _how_to_split(encoded, size))
        if self.room.capacity is None:
            return await self._place(records, encoded, due_ms, priority)
        until = None if within is None else anyio.current_time() + within
        while True:
            try:
                async with self._one_put:
                    return await self._place(records, encoded, due_ms, priority)
            except QueueFull as full:
                left = None if until is None else until - anyio.current_time()
                if len(records) > self.room.capacity or (left is not None and left <= 0):
                    raise
                with anyio.move_on_after(left) as limit:
                    await self.room.wait(len(records))
                if limit.cancelled_caught:
                    raise full from None

    async def fresh_clock(self) -> None:
        """Read the servers' clock, unless that was done in the last minute."""
        if self.writer.server_clock.age > _CLOCK_SECONDS:
            await self.writer.touch()

    async def moving_here(self, record: Record, priority: int) -> "tuple[Multi, int]":
        """The operations that put one item here as part of another multi, and how many of them are for the bucket."""
        bucket, multi = await self.buckets.place(priority)
        placing = multi.count
        multi.create(f"{self.buckets.path(bucket)}/{claims.item_name(0)}", encode(record), sequential=True)
        return multi, placing

    def free(self, record: Record, multi: "Multi") -> None:
        """Append what is needed where an item leaves for good: it frees its key and its room."""
        if record.key:
            multi.delete(self._key_path(record.key))
        self.room.free(multi)

    async def _place(self, records: Sequence[Record], encoded: Sequence[bytes], due_ms: int, priority: int) -> Put:
        key = records[0].key if records else ""
        for _ in range(_MOST_TRIES):
            room = await self.room.reserve(len(records))
            bucket, operations = await self.buckets.place(priority)
            start = f"{self.buckets.path(bucket)}/{claims.item_name(due_ms)}"
            placing = operations.count
            if key:
                operations.create(self._key_path(key), key.encode())
            operations.extend(room)
            for data in encoded:
                operations.create(start, data, sequential=True)
            write = await self.writer.write(operations, shows=True)
            if write.error is None:
                self._noted(write)
                return _CREATED
            if write.failed_at < placing:
                self.buckets.forget(priority)
                if isinstance(write.error, NoNode):
                    await make_path(self.client, self.buckets.folder)
            elif key and write.failed_at == placing:
                if isinstance(write.error, NodeExists):
                    if (there := await self.client.exists(self._key_path(key))) is not None:
                        return Put(False, there.ctime / 1000)
                    continue  # the other item was acknowledged just now
                await self._make_key_folder(key, write.error)
            elif not isinstance(write.error, BadVersion):
                raise write.error
        raise QueueFull(self.path, f"other clients were quicker at each of {_MOST_TRIES} attempts")

    def _noted(self, write: Write) -> None:
        last = write.results[-1] if write.results else None
        if isinstance(last, str):
            self.buckets.put(last)

    def _key_path(self, key: str) -> str:
        folder, name = key_name(key)
        return f"{self._keys}/{folder}/{name}"

    async def _make_key_folder(self, key: str, error: RecipesError) -> None:
        if not isinstance(error, NoNode):
            raise error
        await make_path(self.client, self._key_path(key).rpartition("/")[0])


def _how_to_split(encoded: Sequence[bytes], size: int) -> str:
    invariant(encoded)
    calls = -(-(size + 200 * len(encoded)) // MOST_BYTES)
    at_most = f"servers take {MOST_BYTES:,} bytes in one request"
    largest = max(map(len, encoded))
    if largest + 200 > MOST_BYTES:
        return f"an item of {largest:,} bytes: {at_most}; store it elsewhere and put its address"
    each = max(1, len(encoded) // (calls + 1))
    return f"{len(encoded):,} items of {size:,} bytes together: {at_most}; put them in calls of {each:,} items"
