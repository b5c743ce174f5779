"""How a consumer gets items: it looks, claims free items, and waits in line if there are none.

Looking is level-triggered: each look reads the current state of the buckets and needs no history, whoever died or came
back meanwhile. One round trip reads the list of the buckets and the first bucket. Further buckets are read only if more
items are wanted. A bucket in which nothing can happen before a known time is not read before that time. Consumers that
claim many items at the same time take turns. If a turn takes long, or the claim is small, they begin at random
positions among the first items instead.

Of the consumers that find nothing, one waits for changes with a watch, and the others wait in line behind it. So a put
wakes one of them, however many there are. A consumer that stalls at the head of the line does not delay the others for
long, since these look by themselves every few seconds.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio

from recipes.core.client.session import EventType
from recipes.core.errors import LockLost, NoNode, StoreError
from recipes.lock.lock import Lock
from recipes.queue import claims
from recipes.queue.buckets import is_last
from recipes.queue.claims import Choice, ListedItem
from recipes.queue.dead_letters import bury
from recipes.queue.records import Record, decode
from recipes.writer import MOST_BYTES, Write

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.multi import Multi
    from recipes.core.client.session import WatchEvent
    from recipes.core.jute.records import Stat
    from recipes.queue.native import Native

_LOOK_SECONDS = 1.0  # between two looks of the consumer that waits for changes, in case an event was missed
_BEHIND_SECONDS = 3.0  # between two looks of the consumers in line behind it
_MOST_CLAIMS = 200  # in one multi
_MOST_RIVALS = 3  # rivals that a random start leaves items for, at most
# A claim of many items fails as a whole, so consumers with rivals take turns, if a turn comes quickly.
_WORTH_A_TURN, _FEW_RIVALS, _TURN_SECONDS = 8, 0.5, 0.25
_READ_BYTES = 4 << 20  # largest reply that one read request may ask for
_LARGEST = MOST_BYTES

Found = tuple[str, ListedItem]  # bucket, item


class Delivery:
    """An item that this client has claimed. handed_out: whether its delivery is counted."""

    __slots__ = ("bucket", "fence", "handed_out", "item", "record", "since_ms", "stored_at", "value", "why_dead")

    def __init__(self, bucket: str, item: ListedItem, handed_out: bool) -> None:
        self.bucket: str = bucket
        self.item: ListedItem = item
        self.handed_out: bool = handed_out
        self.fence: int = 0  # czxid of the claim
        self.since_ms: int = 0  # when it was claimed, by the servers' clock
        self.record: Record = Record(b"")
        self.value: object = None  # the decoded item
        self.why_dead: str = ""
        self.stored_at: Stat | None = None  # the Stat of the item


class Finder:
    """Finds and claims items of one queue for one client.

    read: decodes an item's bytes; raises ValueError if it cannot. dead: the queue for items that cannot be read or were
    handed out `max_deliveries` times; None: they stay. lease: seconds after which a claim may be taken away.
    """

    def __init__(
        self,
        native: "Native",
        read: Callable[[bytes], object],
        dead: "Native | None",
        max_deliveries: float,
        lease: float | None,
    ) -> None:
        self.next_due_ms: int = 0  # when the next delayed item is due, as last seen; 0 if there is none
        self._native = native
        self._client = native.client
        self._buckets = native.buckets
        self._read_data = read
        self._dead = dead
        self._max_deliveries = max_deliveries
        self._lease = lease
        self._head = ""  # the first bucket that had items at the last look
        self._asleep: dict[str, int] = {}  # closed bucket -> server time before which nothing happens in it
        self._seen: dict[str, float] = {}  # path of a claim -> when we first saw it
        self._rivals = 0.0  # running estimate of consumers that claim at the same time
        self._largest = 0  # bytes of the largest item so far

    async def claim(self, want: int, *, hand_out: bool) -> list[Delivery]:
        """Claim up to `want` waiting items; returns an empty list if there are none now.

        hand_out: count the deliveries in the same multi. If this is cancelled, it leaves no claim behind. Items that
        cannot be read, or were handed out too often, go to the dead letters.
        """
        await self._native.prepare()
        want = min(want, _MOST_CLAIMS)
        while True:
            deliveries: list[Delivery] | None = []
            if want < _WORTH_A_TURN or self._rivals < _FEW_RIVALS:
                deliveries = await self._try(want, hand_out, begin_anywhere=True)
            else:
                try:
                    async with Lock(self._client, f"{self._native.path}/turn").try_acquire(
                        within=_TURN_SECONDS
                    ) as turn:
                        deliveries = await self._try(want, hand_out, begin_anywhere=turn is None)
                except LockLost:  # somebody broke it, or the session is over and the next request raises
                    pass
                except BaseException:
                    self.give_back(deliveries or [])
                    raise
            if deliveries is None:
                return []
            if deliveries and (deliveries := await self._bury_some(deliveries)):
                return deliveries

    async def wait(self, want: int, *, hand_out: bool) -> list[Delivery]:
        """Wait for items and claim them: at least one, at most `want`."""
        while True:
            found = await self.claim(want, hand_out=hand_out)
            if found:
                return found
            try:
                with anyio.move_on_after(_BEHIND_SECONDS * self._client.random.uniform(0.7, 1.3)) as limit:
                    async with Lock(self._client, f"{self._native.path}/waiting"):
                        limit.deadline = float("inf")
                        found = await self._wait_first(want, hand_out)
            except LockLost:  # somebody broke the line, or the session is over and the next look raises
                pass
            except BaseException:
                self.give_back(found)
                raise
            if found:
                return found

    async def is_ours(self, delivery: Delivery) -> bool:
        """Whether the existing claim is ours."""
        stat = await self._client.exists(self.claim_path(delivery))
        return stat is not None and stat.czxid == delivery.fence

    async def _bury_some(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Move the items that must not be handed out to the dead letters; return the others."""
        alive = []
        for delivery in deliveries:
            if delivery.item.deliveries >= self._max_deliveries and not delivery.why_dead:
                delivery.why_dead = f"handed out {delivery.item.deliveries} times and not acknowledged"
            if not delivery.why_dead or self._dead is None:
                alive.append(delivery)
        if len(alive) < len(deliveries):
            try:
                await self._bury([delivery for delivery in deliveries if delivery not in alive])
            except BaseException:
                self.give_back(alive)
                raise
        return alive

    async def _bury(self, found: Sequence[Delivery]) -> None:
        """Move these to the dead letters, in the client's own task.

        A caller with a short time limit on each look would otherwise cancel the move again and again, and never reach
        the items behind.
        """
        errors: list[Exception] = []
        done = anyio.Event()

        async def move() -> None:
            try:
                for delivery in found:
                    if self._dead is not None:
                        await bury(self._native, self._dead, delivery, delivery.why_dead)
            except Exception as error:
                errors.append(error)
                self.give_back(found)  # refused for the items that were moved already
            finally:
                done.set()

        with self._client.session_scope():
            self._client.look_after(move)
            await done.wait()
        if errors:
            raise errors[0]

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return claimed items to their places, uncounted, without waiting for it."""
        if self._client.session.lost:
            return
        for delivery in deliveries:
            self._native.writer.submit(Write(self.back(delivery)))

    def back(self, delivery: Delivery) -> "Multi":
        """The operations that return a claimed item to its place, uncounted."""
        step = claims.release if delivery.handed_out else claims.unclaim
        return self._buckets.operations(delivery.bucket, step(delivery.item))

    def claim_path(self, delivery: Delivery) -> str:
        """The path of our claim's znode."""
        return self._buckets.path(delivery.bucket, delivery.item.claim)

    async def _look(self, want: int) -> list[Found]:
        """The first `want` items that may be claimed now."""
        clock = self._native.writer.server_clock
        guesses = {
            bucket: self._client.start_children(self._buckets.path(bucket)) for bucket in (self._head,) if bucket
        }
        try:
            names = await self._buckets.names()
            found, next_due = await self._choose(names, guesses, want)
        finally:
            for call in guesses.values():
                call.abandoned = not call.done
        if next_due and not found and clock.age > 60:
            await self._native.fresh_clock()
            found, next_due = await self._choose(names, {}, want)
        self.next_due_ms = next_due
        return found

    async def _choose(self, names: Sequence[str], guesses: "dict[str, Call]", want: int) -> tuple[list[Found], int]:
        found: list[Found] = []
        next_due = 0
        head = ""
        now_ms = self._native.writer.server_clock.not_before_ms()
        for at, bucket in enumerate(names):
            asleep = self._asleep.get(bucket, 0)
            if asleep > now_ms:
                next_due = min(next_due or asleep, asleep)
                continue
            call = guesses.get(bucket) or self._client.start_children(self._buckets.path(bucket))
            try:
                listing: list[str] = await call.result()
            except NoNode:
                continue
            choice = claims.choose(listing, now_ms, want - len(found))
            found += [(bucket, item) for item in choice.claimable]
            if choice.next_due_ms:
                next_due = min(next_due or choice.next_due_ms, choice.next_due_ms)
            head = head or (bucket if choice.items else "")
            await self._mind(bucket, choice, listing, is_last(names, at))
            if len(found) >= want:
                break
        self._head = head
        return found, next_due

    async def _mind(self, bucket: str, choice: Choice, listing: Sequence[str], is_open: bool) -> None:
        """Act on what a look shows beside items to claim: idle, empty and closed buckets, and late claims."""
        self._asleep.pop(bucket, None)
        if not is_open and not choice.claimable and not choice.claims:
            if choice.next_due_ms:
                self._asleep[bucket] = choice.next_due_ms
            elif not listing:
                # No more items come into a closed bucket.
                self._client.delete_later(self._buckets.path(bucket))
        if self._lease is not None:
            await self._break_late_claims(bucket, choice.claims, self._lease)

    async def _break_late_claims(self, bucket: str, found: Sequence[str], lease: float) -> None:
        """Delete claims that are older than the lease by the servers' clock, unless they are extended meanwhile."""
        now = self._client.clock()
        start = self._buckets.path(bucket) + "/"
        stands = {start + name for name in found}
        for path in [path for path in self._seen if path.startswith(start) and path not in stands]:
            del self._seen[path]
        for path in stands:
            if now - self._seen.setdefault(path, now) < lease:
                continue
            stat = await self._client.exists(path)
            await self._native.writer.touch()
            if stat is not None and self._native.writer.server_clock.not_before_ms() - stat.mtime >= lease * 1000:
                multi = self._client.multi()
                multi.delete(path, stat.version)
                await self._native.writer.write(multi)
            self._seen[path] = now

    async def _try(self, want: int, hand_out: bool, *, begin_anywhere: bool) -> list[Delivery] | None:
        """Claim `want` of the first waiting items; None if none waits, an empty list if others were faster.

        begin_anywhere: start at a random position among the first items if there have been rivals lately.
        """
        rivals = round(self._rivals) if begin_anywhere else 0
        found = await self._look(want * (1 + rivals))
        if not found:
            return None
        while found:
            begin = max(0, min(want * self._client.random.randint(0, rivals), len(found) - want))
            deliveries = await self._take(found[begin : begin + want], hand_out)
            if deliveries is not None:
                self._rivals *= 0.95
                return deliveries
            # The faster consumer usually took all of these: go on behind them, without another look.
            self._rivals = min(_MOST_RIVALS, self._rivals + 1)
            del found[begin : begin + want]
        return []

    async def _take(self, found: Sequence[Found], hand_out: bool) -> list[Delivery] | None:
        """Claim all of these, and read them; None if somebody was faster with one of them."""
        deliveries: list[Delivery] = []
        operations = self._client.multi()
        for bucket, item in found:
            handed_out = hand_out and item.deliveries < self._max_deliveries
            step = claims.claim_and_hand_out if handed_out else claims.claim
            operations.extend(self._buckets.step(bucket, item, step, self._native.who))
            deliveries.append(Delivery(bucket, item, handed_out))
        reads = self._start_reading(deliveries)
        try:
            write = await self._native.writer.write(operations, undo=lambda: map(self.back, deliveries))
        except BaseException:
            _abandon(reads)
            raise
        if write.error is not None:
            _abandon(reads)
            return None
        try:
            return await self._read(deliveries, reads, write)
        except BaseException:
            self.give_back(deliveries)
            raise

    def _start_reading(self, deliveries: Sequence[Delivery]) -> "list[Call]":
        """Send the reads of the items. An item's znode never changes, so it may be read before it is claimed."""
        at_once = max(1, _READ_BYTES // (self._largest or _LARGEST))
        paths = [self._buckets.path(each.bucket, each.item.name) for each in deliveries]
        parts = [paths[at : at + at_once] for at in range(0, len(paths), at_once)]
        return [self._client.start_multi_read([("get", path) for path in part]) for part in parts]

    async def _read(self, deliveries: list[Delivery], reads: "Sequence[Call]", write: Write) -> list[Delivery]:
        answers = [answer for call in reads for answer in await call.result()]
        here = []
        gone: list[Delivery] = []
        for delivery, answer in zip(deliveries, answers, strict=True):
            if isinstance(answer, StoreError):  # somebody deleted it by hand
                gone.append(delivery)
                continue
            data, delivery.stored_at = answer
            self._largest = max(self._largest, len(data))
            try:
                delivery.record = decode(data)
                delivery.value = self._read_data(delivery.record.data)
            except ValueError as error:
                delivery.why_dead = f"it cannot be read: {error}"
                delivery.record = delivery.record if delivery.record.data else Record(data)
            if write.stat is not None:
                delivery.fence, delivery.since_ms = write.stat.mzxid, write.stat.mtime
            elif not await self._learn_claim(delivery):
                continue  # the claim has gone meanwhile
            here.append(delivery)
        for delivery in gone:
            self._native.writer.submit(Write(self._buckets.operations(delivery.bucket, claims.unclaim(delivery.item))))
        return here

    async def _learn_claim(self, delivery: Delivery) -> bool:
        """Read fence and time of our claim, after the multi's reply was lost. False if the claim is not ours."""
        stat = await self._client.exists(self.claim_path(delivery))
        if stat is None or stat.ephemeral_owner != self._client.session.id:
            return False
        delivery.fence, delivery.since_ms = stat.czxid, stat.ctime
        return True

    async def _wait_first(self, want: int, hand_out: bool) -> list[Delivery]:
        """As first in line: look at each event that may bring work, until there is an item."""
        async with self._client.watch(self._buckets.folder, recursive=True) as events:
            while True:
                found = await self.claim(want, hand_out=hand_out)
                if found:
                    return found
                patience = _LOOK_SECONDS
                if self.next_due_ms:
                    now_ms = self._native.writer.server_clock.not_before_ms()
                    patience = min(patience, max(0.001, (self.next_due_ms - now_ms) / 1000))
                with anyio.move_on_after(patience):
                    async for event in events:  # raises when the session ends
                        if _may_bring_work(event):
                            break


def _may_bring_work(event: "WatchEvent") -> bool:
    if event.type not in (EventType.CREATED, EventType.DELETED):
        return True
    return claims.may_bring_work(event.path.rpartition("/")[2], event.type is EventType.DELETED)


def _abandon(calls: "Sequence[Call]") -> None:
    for call in calls:
        call.abandoned = not call.done
