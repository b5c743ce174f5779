"""A queue between processes that never loses an item (docs/queue.md)."""

import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Generic, Literal, cast

import anyio
from typing_extensions import TypeVar

from recipes.contender import check_within
from recipes.core.errors import BadArguments, NoNode
from recipes.encoding import Encoding
from recipes.queue import claims
from recipes.queue.buckets import check_priority
from recipes.queue.consume import Messages, Parts
from recipes.queue.dead_letters import redrive
from recipes.queue.finder import Delivery, Finder
from recipes.queue.layouts import Foreign, ForeignCustody
from recipes.queue.message import Custody, Message, Rules
from recipes.queue.native import Native
from recipes.queue.records import Put, Record, decode

if TYPE_CHECKING:
    from recipes.core.client.client import Client

T = TypeVar("T", default=bytes)
Layout = Literal["native", "kazoo", "kazoo-locking", "curator", "curator-locking"]

_AT_ONCE = 100  # dead letters that `redrive` claims at a time


class Queue(Generic[T]):
    """A queue at `path`: each item is delivered at least once; order of commit, lowest priority number first.

    client: a connected Client. path: created if it is missing.
    model: the type of the items. Without it they are bytes; items of a pydantic model, or of any type that pydantic
        knows, are stored as JSON. `Queue[Job](client, path)` does the same.
    max_deliveries: how often an item is handed out before it goes to `dead_letters`, 1 or more. Every delivery to a
        block counts, except one that is cancelled from outside or released.
    capacity: the largest number of items, dead letters not counted. It is stored with the queue: another capacity
        raises BadArguments; without one, the stored capacity applies.
    lease: seconds by the servers' clock after which other consumers with a lease may take a claim away although its
        session lives; `message.extend()` renews it. Without it only the end of the session ends a claim.
    retry_delay: seconds that an item waits after its first failed delivery, doubling with each further one. A pair also
        gives the longest delay, which otherwise is 60 s, or the first delay if that is longer.
    layout, lock_path: for the queue of another library; see layouts.py for what each layout supports.

    A claim on an item is an ephemeral znode, so it ends with its consumer's session. Methods raise the errors of every
    call of the client. ValueError and TypeError name the wrong argument.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        *,
        model: type[T] | None = None,
        max_deliveries: int = 20,
        capacity: int | None = None,
        lease: float | None = None,
        retry_delay: float | tuple[float, float] = (0.1, 60.0),
        layout: Layout = "native",
        lock_path: str | None = None,
    ) -> None:
        delays = retry_delay if isinstance(retry_delay, tuple) else (retry_delay, max(retry_delay, 60.0))
        _check_rules(max_deliveries, capacity, lease, delays)
        self._foreign: Foreign | None = None
        if layout != "native":
            self._foreign = Foreign(client, path, layout, lock_path)
            self._foreign.refuse(capacity=capacity, lease=lease)
        elif lock_path is not None:
            raise ValueError(f"lock_path={lock_path!r}: it is for layout='curator-locking'")
        self._client = client
        self._path = path
        self._encoding: Encoding[T] = Encoding(self, model)
        self._made: Parts | None = None

        def make(client: "Client") -> Parts:
            native = Native(client, path, capacity)
            dead = Native(client, f"{path}/dead", parent=native)
            finder = Finder(native, self._encoding.read, dead, max_deliveries, lease)
            return Parts(native, dead, finder, Rules(dead, max_deliveries, delays))

        self._make: Callable[[Client], Parts] = make
        self._parts()  # so that an invalid path is refused at once

    @property
    def dead_letters(self) -> "DeadLetters":
        """The queue of the items that were handed out too often, or could not be read."""
        self._only_native("dead_letters")
        return DeadLetters(self._client, f"{self._path}/dead", self._parts)

    def _parts(self) -> Parts:
        """The parts of this queue for the client's current session; claims of earlier sessions are not touched."""
        client = self._client.bound
        if self._made is None or self._made.native.client is not client:
            self._made = self._make(client)
        return self._made

    async def put(
        self, data: T, *, key: str | None = None, delay: float = 0, priority: int = 100, within: float | None = None
    ) -> Put:
        """Put one item. The result is true if it was put; it is false if an item with the same key is there already.

        key: until the item is acknowledged, further puts with the same key, by any client, add nothing. delay: seconds,
        by the servers' clock, before it is handed out. priority: 0 to 999, lowest first.
        within: seconds to wait for room in a queue with a capacity, without it no limit; after that it raises
        QueueFull.

        A lost reply neither loses nor duplicates the item. When this is cancelled, or raises ConnectionLoss or
        SessionExpired, the item may be in the queue or not: with a `key` it is safe to put it again.
        """
        if key is not None and (not isinstance(key, str) or not key):
            raise TypeError(f"key: expected a string of at least one character, not {key!r}")
        _check_put(self._path, delay, priority)
        record = Record(self._encoding.write(data), key=key or "")
        if self._foreign is not None:
            self._foreign.refuse(key=key, delay=delay, within=within)
            await self._foreign.put([record.data], priority)
            return Put(True)
        return await self._parts().native.put([record], delay=delay, priority=priority, within=within)

    async def put_many(
        self, items: Iterable[T], *, delay: float = 0, priority: int = 100, within: float | None = None
    ) -> None:
        """Put all of these, next to one another, or none. See `put`.

        Raises BadArguments, which says how to split them, if together they are too large for one request.
        """
        _check_put(self._path, delay, priority)
        records = [Record(self._encoding.write(item)) for item in items]
        if self._foreign is not None:
            self._foreign.refuse(delay=delay, within=within)
            await self._foreign.put([record.data for record in records], priority)
        elif records:
            await self._parts().native.put(records, delay=delay, priority=priority, within=within)

    def receive(self) -> AbstractAsyncContextManager[Message[T]]:
        """`async with queue.receive() as message:` wait for an item; the block's end acknowledges it. See Message."""
        return self._receive()

    def try_receive(self, *, within: float = 0.0) -> AbstractAsyncContextManager[Message[T] | None]:
        """`receive` with a time limit: `async with queue.try_receive(within=5.0) as message`; None if no item came.

        within: seconds to wait for an item at most, 0 or more; the block itself may last longer. With 0 it looks once.
        """
        return self._try_receive(check_within(self._path, within))

    def consume(self, *, concurrency: int = 1, prefetch: int = 0) -> Messages[T]:
        """A stream of messages; see Messages.

        concurrency: how many messages may be in hand at once, over all tasks that iterate, 1 or more. prefetch: how
        many more are claimed ahead, 0 or more. Their deliveries are not counted, but other consumers cannot get them
        meanwhile.
        """
        for name, value, least in (("concurrency", concurrency, 1), ("prefetch", prefetch, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name}={value!r}: expected a whole number from {least} on")
        self._only_native("consume()")
        return Messages(self._client, self._path, self._parts, self._show, concurrency, prefetch)

    async def take(self) -> T:
        """Wait for an item, remove it, and return its value: at most once, since there is no acknowledgement.

        If this is cancelled, an item may be lost.
        """
        if self._foreign is not None:
            return await self._foreign.take(self._encoding.read)
        native, _, finder, _ = self._parts()
        while True:
            (delivery,) = await finder.wait(1, hand_out=0)
            operations = native.buckets.operations(delivery.bucket, claims.remove(delivery.item, claimed=True))
            native.free(delivery.record, operations)
            write = await native.writer.write(operations, keep=True)
            if write.error is None:
                return cast("T", delivery.value)
            await finder.let_go(delivery)

    async def size(self) -> int:
        """The number of items in the queue, including delayed items and items in hand, without dead letters."""
        if self._foreign is not None:
            return await self._foreign.size()
        return sum(await self.counts())

    async def counts(self) -> tuple[int, int, int]:
        """The numbers of waiting, delayed and claimed items."""
        self._only_native("counts()")
        native = self._parts().native
        await native.prepare()
        await native.fresh_clock()
        now_ms = native.writer.server_clock.not_before_ms()
        totals = [0, 0, 0]
        for _, listing in await _listings(native):
            for place, count in enumerate(claims.survey(listing, now_ms)):
                totals[place] += count
        return totals[0], totals[1], totals[2]

    async def peek(self, count: int = 1) -> list[T]:
        """The values of the first `count` waiting items, without claimed and delayed ones. The items stay."""
        if self._foreign is not None:
            return [self._encoding.read(data) for data in await self._foreign.peek(count)]
        return [self._encoding.read(record.data) for record, _ in await self._first(count)]

    async def age(self) -> float:
        """Seconds, by the servers' clock, since the oldest waiting item was put; 0.0 if none waits."""
        self._only_native("age()")
        native = self._parts().native
        await native.prepare()
        await native.writer.touch()
        now_ms = oldest = native.writer.server_clock.not_before_ms()
        priorities: set[str] = set()
        for bucket, listing in await _listings(native):
            waiting = claims.choose(listing, now_ms, 1).claimable if bucket[:3] not in priorities else []
            if waiting:
                priorities.add(bucket[:3])
                stat = await native.client.exists(native.buckets.path(bucket, waiting[0].name))
                oldest = min(oldest, stat.ctime if stat else oldest)
        return (now_ms - oldest) / 1000

    async def purge(self) -> int:
        """Delete every unclaimed item, delayed ones included. Returns how many."""
        if self._foreign is not None:
            return sum([await self._foreign.remove(name) for name in await self._foreign.waiting()])
        native = self._parts().native
        await native.prepare()
        dropped = 0
        for bucket, listing in await _listings(native):
            for item in claims.choose(listing, _NEVER_MS, len(listing)).claimable:
                try:
                    data, _ = await native.client.get(native.buckets.path(bucket, item.name))
                except NoNode:
                    continue
                changes = claims.remove(item, claimed=False)
                operations = native.buckets.operations(bucket, changes, native.who)
                native.free(decode(data), operations)
                write = await native.writer.write(operations)
                dropped += write.error is None
        return dropped

    def _only_native(self, what: str) -> None:
        if self._foreign is not None:
            raise ValueError(f"{what}: layout {self._foreign.layout.name!r} does not support it")

    async def _first(self, count: int) -> list[tuple[Record, str]]:
        native = self._parts().native
        await native.prepare()
        await native.fresh_clock()
        now_ms = native.writer.server_clock.not_before_ms()
        found: list[tuple[Record, str]] = []
        for bucket, listing in await _listings(native):
            for item in claims.choose(listing, now_ms, count - len(found)).claimable:
                path = native.buckets.path(bucket, item.name)
                try:
                    found.append((decode((await native.client.get(path))[0]), path))
                except NoNode:
                    continue
            if len(found) >= count:
                break
        return found

    @asynccontextmanager
    async def _receive(self) -> AsyncGenerator[Message[T]]:
        if self._foreign is not None:
            while (custody := await self._foreign.claim()) is None:
                await self._foreign.wait_changed()
            async with self._show_foreign(custody) as message:
                yield message
            return
        parts = self._parts()
        (delivery,) = await parts.finder.wait(1, hand_out=1)
        async with self._in_hand(parts, delivery) as message:
            yield message

    @asynccontextmanager
    async def _try_receive(self, within: float) -> AsyncGenerator[Message[T] | None]:
        found: list[Delivery] = []
        if self._foreign is not None:
            custody = await self._foreign.claim()
            with anyio.move_on_after(within):
                while custody is None and within > 0:
                    await self._foreign.wait_changed()
                    custody = await self._foreign.claim()
            if custody is None:
                yield None
                return
            async with self._show_foreign(custody) as message:
                yield message
            return
        parts = self._parts()
        if within > 0:
            with anyio.move_on_after(within):
                found = await parts.finder.wait(1, hand_out=1)
        else:
            found = await parts.finder.claim(1, hand_out=1)
        if not found:
            yield None
            return
        async with self._in_hand(parts, found[0]) as message:
            yield message

    def _in_hand(self, parts: Parts, delivery: Delivery) -> Message[T]:
        return self._show(Custody(parts.native, parts.finder, delivery, parts.rules))

    def _show(self, custody: Custody) -> Message[T]:
        delivery = custody.delivery
        record = delivery.record
        return Message(
            custody,
            cast("T", delivery.value),
            attempt=delivery.item.deliveries + 1,
            key=record.key,
            priority=record.priority if record.reason else int(delivery.bucket[:3]),
            reason=record.reason,
        )

    def _show_foreign(self, custody: ForeignCustody) -> Message[T]:
        try:
            return Message(custody, self._encoding.read(custody.data))
        except ValueError:
            custody.abandon()
            raise


class DeadLetters(Queue[bytes]):
    """A queue of dead letters. `message.reason` says why it is one; `message.priority` is its priority in the queue.

    Dead letters are bytes, since some of them cannot be decoded. Acknowledging one deletes it for good.
    """

    def __init__(self, client: "Client", path: str, source: Callable[[], Parts]) -> None:
        self._client = client
        self._path = path
        self._encoding = Encoding(self, bytes)
        self._foreign = None
        self._source = source
        self._made: Parts | None = None

        def make(client: "Client") -> Parts:
            dead = source().dead
            finder = Finder(dead, self._encoding.read, None, math.inf, None)
            return Parts(dead, dead, finder, Rules(None, math.inf, (0.1, 60.0)))

        self._make: Callable[[Client], Parts] = make

    @property
    def dead_letters(self) -> "DeadLetters":
        """Raises AttributeError: the deliveries of a dead letter are not limited, so it never becomes one again."""
        raise AttributeError("a queue of dead letters has no dead letters: their deliveries are not limited")

    async def redrive(self, count: int | None = None) -> int:
        """Move the first `count` dead letters (None: all) back to the queue, as if they were put now.

        Returns how many. Each is moved in one multi. Raises QueueFull when the queue has no room.
        """
        moved = 0
        source, (dead, _, finder, _) = self._source().native, self._parts()
        while count is None or moved < count:
            found = await finder.claim(_AT_ONCE if count is None else min(_AT_ONCE, count - moved), hand_out=0)
            if not found:
                break
            try:
                while found:
                    here = await redrive(dead, source, found[0])
                    moved += here
                    delivery = found.pop(0)
                    if not here:
                        await finder.let_go(delivery)
            finally:
                finder.give_back(found)
        return moved

    async def reasons(self, count: int = 100) -> list[tuple[bytes, str, int]]:
        """Data, reason and number of deliveries of the first `count` dead letters. They stay."""
        return [(record.data, record.reason, record.attempts) for record, _ in await self._first(count)]


_NEVER_MS = 1 << 62


async def _listings(native: Native) -> list[tuple[str, list[str]]]:
    names = await native.buckets.names()
    calls = [(name, native.client.start_children(native.buckets.path(name))) for name in names]
    found: list[tuple[str, list[str]]] = []
    for name, call in calls:
        try:
            found.append((name, await call.result()))
        except NoNode:
            continue
    return found


def _check_rules(max_deliveries: int, capacity: int | None, lease: float | None, delays: tuple[float, float]) -> None:
    if not isinstance(max_deliveries, int) or max_deliveries < 1:
        raise ValueError(f"max_deliveries={max_deliveries!r}: expected a whole number from 1 on")
    if capacity is not None and (not isinstance(capacity, int) or capacity < 1):
        raise ValueError(f"capacity={capacity!r}: expected a whole number from 1 on, or None for no bound")
    if lease is not None and not lease > 0:
        raise ValueError(f"lease={lease!r}: expected seconds, more than 0, or None")
    if len(delays) != 2 or not 0 <= delays[0] <= delays[1]:
        raise ValueError(f"retry_delay={delays!r}: expected seconds, or (shortest, longest)")


def _check_put(path: str, delay: float, priority: int) -> None:
    check_priority(path, priority)
    if not 0 <= delay < 1e9:
        raise BadArguments(path, f"delay={delay}: expected seconds, 0 or more")
