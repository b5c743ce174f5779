"""How a consumer gets items: it looks, claims free items, and waits in line if there are none.

Looking is level-triggered: each look reads the current state of the buckets and needs no history, whoever died or came
back meanwhile. One round trip reads the list of the buckets and the first bucket. Further buckets are read only if more
items are wanted. A bucket in which nothing can happen before a known time is not read before that time.

Consumers that claim many items at a time have shares (shares.py), and there one look serves some claims, if these
follow quickly. While a stream has messages to hand out and finds nothing in its share, it leaves what is in the other
shares to others. If it has none, and for a claim of few items, the claim begins at a random position among the first
items if there have been rivals lately. Claims of many items that were refused twice in a row wait for a turn, if that
comes quickly.

Of the consumers that find nothing, one waits for changes with a watch, and the others wait in line behind it. So a put
wakes one of them, however many there are. A consumer that stalls at the head of the line does not delay the others for
long, since these look by themselves every few seconds.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio

from recipes.core.client.session import EventType
from recipes.core.errors import LockLost, NoNode, NotEmpty, RecipesError, StoreError
from recipes.lock.lock import Lock
from recipes.queue import claims
from recipes.queue.buckets import is_last
from recipes.queue.claims import Choice, ListedItem
from recipes.queue.dead_letters import bury
from recipes.queue.reading import Reading
from recipes.queue.records import Record, decode
from recipes.queue.shares import Found, Place, Presence, of_first_priority
from recipes.writer import Write

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
_MANY = 8  # items in a claim, from which on consumers have shares
_FARTHEST = 1_000  # among how many items a consumer looks for those of its share, at most
# Where there are shares, a look that follows the last one within this time serves so many claims, for as long.
_QUICK_SECONDS, _CLAIMS_A_LOOK = 0.1, 8
_MOST_REFUSED, _TURN_SECONDS = 2, 0.25


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
        self._presence = Presence(native.client, native.clients)
        self._spare: list[Found] = []  # what the last look found in our share beyond a claim, to be claimed next
        self._looked_at = -math.inf
        self._may_look_ahead = False  # whether there are shares, and nobody has looked ahead since the last claim
        self._left_to_others = False  # whether all that the last look found was left to those whose shares it is in
        self._refused = 0  # claims of many items in a row
        self._rivals = 0.0  # running estimate of consumers that claim at the same time
        self._largest = 0  # bytes of the largest item so far

    async def claim(self, want: int, *, hand_out: int, only_own: bool = False) -> list[Delivery]:
        """Claim up to `want` waiting items; returns an empty list if there are none now.

        hand_out: of how many to count the delivery in the same multi. If this is cancelled, it leaves no claim behind.
        only_own: leave items in the shares of others to those, if this client has a share.
        Items that cannot be read, or were handed out too often, go to the dead letters.
        """
        await self._native.prepare()
        want = min(want, _MOST_CLAIMS)
        only_own = only_own and want >= _MANY
        while True:
            deliveries: list[Delivery] | None = []
            if want < _MANY or self._refused < _MOST_REFUSED:
                deliveries = await self._try(want, hand_out, only_own, begin_anywhere=True)
            else:
                try:
                    async with Lock(self._client, f"{self._native.path}/turn").try_acquire(
                        within=_TURN_SECONDS
                    ) as turn:
                        deliveries = await self._try(want, hand_out, only_own, begin_anywhere=turn is None)
                except LockLost:  # somebody broke it, or the session is over and the next request raises
                    pass
                except BaseException:
                    self.give_back(deliveries or [])
                    raise
            if deliveries is None:
                return []
            if deliveries and (deliveries := await self._bury_some(deliveries)):
                return deliveries

    async def wait(self, want: int, *, hand_out: int) -> list[Delivery]:
        """Wait for items and claim them: at least one, at most `want`.

        It returns an empty list at once if many are wanted, none of them to be handed out now, and there are only items
        in the shares of others. A consumer that has work leaves these to others: if both claim them, one is refused.
        """
        only_own = want >= _MANY and not hand_out
        while True:
            found = await self.claim(want, hand_out=hand_out, only_own=only_own)
            if found or (only_own and self._left_to_others):  # a stream beside this caller sets it, too
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

    def is_short_of(self, want: int) -> bool:
        """Whether `look_ahead` is of use to a claim of so many items that follows the last one quickly."""
        quick = self._client.clock() - self._looked_at < _QUICK_SECONDS
        return self._may_look_ahead and quick and want >= _MANY and len(self._spare) < want

    async def look_ahead(self, want: int) -> None:
        """Look for the items of the next claim, so that it need not wait for a look."""
        self._may_look_ahead = False
        found, place = await self._look(want, 0)
        if place.of > 1:
            self._spare = place.share(of_first_priority(found))

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
                    if self._dead is not None and not await bury(self._native, self._dead, delivery, delivery.why_dead):
                        await self.let_go(delivery)
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

    async def let_go(self, delivery: Delivery) -> None:
        """Return an item whose removal was refused, since it was handed out to somebody behind our look.

        In the client's own task, so that a caller that is cancelled leaves no claim.
        """
        done = anyio.Event()

        async def unclaim() -> None:
            try:
                with suppress(RecipesError):
                    await self._native.writer.prepare()
                    if await self.is_ours(delivery):
                        write = Write(self.back(delivery))
                        self._native.writer.submit(write)
                        await write.wait()
            finally:
                done.set()

        with self._client.session_scope():
            self._client.look_after(unclaim)
            await done.wait()

    def back(self, delivery: Delivery) -> "Multi":
        """The operations that return a claimed item to its place, uncounted."""
        step = claims.release if delivery.handed_out else claims.unclaim
        return self._buckets.operations(delivery.bucket, step(delivery.item))

    def claim_path(self, delivery: Delivery) -> str:
        """The path of our claim's znode."""
        return self._buckets.path(delivery.bucket, delivery.item.claim)

    @contextmanager
    def consuming(self, most: int) -> Iterator[None]:
        """For as long as claims follow one another, of so many items at most, this client has a share."""
        if most < _MANY:
            yield
            return
        self._presence.enter()
        try:
            yield
        finally:
            self._presence.leave()

    async def _look(self, want: int, rivals: int) -> tuple[list[Found], Place]:
        """The items that `want` may be chosen from now, in order, and our place among the consumers.

        rivals: how many claim at the same time, as far as we know.
        """
        clock = self._native.writer.server_clock
        began = self._client.clock()
        consumers: Call | None = None
        guesses: dict[str, Call] = {}

        def start(bucket: str) -> None:
            nonlocal consumers
            guesses[bucket] = self._client.start_children(self._buckets.path(bucket))
            consumers = self._presence.start_listing() if want >= _MANY else None

        try:
            if self._head:
                start(self._head)
            names = await self._buckets.names()
            if names and not guesses and names[0] not in self._asleep:
                start(names[0])
            place = await self._presence.learn(consumers)
            most = want * (1 + rivals)
            if place.of > 1:
                claims_now = _CLAIMS_A_LOOK if began - self._looked_at < _QUICK_SECONDS else 1
                most = max(most, min(want * place.of * claims_now, _FARTHEST))
            self._looked_at, self._spare = began, []  # what an earlier look found is too old now
            found, next_due = await self._choose(names, guesses, most)
        finally:
            for call in (*guesses.values(), *filter(None, [consumers])):
                call.abandoned = not call.done
        if next_due and not found and clock.age > 60:
            await self._native.fresh_clock()
            found, next_due = await self._choose(names, {}, most)
        self.next_due_ms = next_due
        return found, place

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
                self._delete(self._buckets.path(bucket))  # no more items come into a closed bucket
        if self._lease is not None:
            await self._break_late_claims(bucket, choice.claims, self._lease)

    def _delete(self, path: str) -> None:
        def heard(call: "Call") -> None:
            if not isinstance(call.error, NoNode | NotEmpty | None):
                self._client.delete_later(path)

        self._client.start_delete(path, heard)

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

    async def _try(self, want: int, hand_out: int, only_own: bool, *, begin_anywhere: bool) -> list[Delivery] | None:
        """Claim `want` of the first waiting items; None if none waits, an empty list if others were faster.

        begin_anywhere: where there is no share of ours, start at a random position among the first items if there have
        been rivals lately.
        """
        if want >= _MANY and self._spare and self._client.clock() - self._looked_at < _QUICK_SECONDS:
            own, self._spare = self._spare[:want], self._spare[want:]
            self._may_look_ahead = True
            return await self._take(own, hand_out) or []
        rivals = round(self._rivals) if begin_anywhere else 0
        self._left_to_others = False
        found, place = await self._look(want, rivals)
        if not found:
            return None
        self._may_look_ahead = place.of > 1
        if place.of > 1:
            found = of_first_priority(found)
            if own := place.share(found):
                self._spare = own[want:]
                return await self._take(own[:want], hand_out) or []
            if only_own:
                self._left_to_others = True
                return None
        rivals = max(rivals, place.of - 1) if begin_anywhere else 0
        while found:
            begin = max(0, min(want * self._client.random.randint(0, rivals), len(found) - want))
            deliveries = await self._take(found[begin : begin + want], hand_out)
            if deliveries is not None:
                return deliveries
            # The faster consumer usually took all of these: go on behind them, without another look.
            del found[begin : begin + want]
        return []

    async def _take(self, found: Sequence[Found], hand_out: int) -> list[Delivery] | None:
        """Claim all of these, and read them; None if somebody was faster with one of them."""
        deliveries: list[Delivery] = []
        operations = self._client.multi()
        for bucket, item in found:
            handed_out = len(deliveries) < hand_out and item.deliveries < self._max_deliveries
            step = claims.claim_and_hand_out if handed_out else claims.claim
            operations.extend(self._buckets.step(bucket, item, step, self._native.who))
            deliveries.append(Delivery(bucket, item, handed_out))
        reading = Reading(
            self._client, [self._buckets.path(each.bucket, each.item.name) for each in deliveries], self._largest
        )
        try:
            undo = partial(map, self.back, deliveries)
            write = await self._native.writer.write(operations, undo=undo, sent=reading.begin)
        except BaseException:
            reading.abandon()
            raise
        if write.error is not None:
            reading.abandon()
            self._spare = []
            self._refused += 1
            self._rivals = min(_MOST_RIVALS, self._rivals + 1)
            return None
        self._refused = 0
        self._rivals *= 0.95
        try:
            return await self._read(deliveries, reading, write)
        except BaseException:
            self.give_back(deliveries)
            raise

    async def _read(self, deliveries: list[Delivery], reading: Reading, write: Write) -> list[Delivery]:
        answers = await reading.result()
        self._largest = max(self._largest, reading.largest)
        here = []
        gone: list[Delivery] = []
        for delivery, answer in zip(deliveries, answers, strict=True):
            if isinstance(answer, StoreError):  # acknowledged by somebody else behind our look, or deleted by hand
                gone.append(delivery)
                continue
            data, delivery.stored_at = answer
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
            self._native.writer.submit(Write(self.back(delivery)))
        return here

    async def _learn_claim(self, delivery: Delivery) -> bool:
        """Read fence and time of our claim, after the multi's reply was lost. False if the claim is not ours."""
        stat = await self._client.exists(self.claim_path(delivery))
        if stat is None or stat.ephemeral_owner != self._client.session.id:
            return False
        delivery.fence, delivery.since_ms = stat.czxid, stat.ctime
        return True

    async def _wait_first(self, want: int, hand_out: int) -> list[Delivery]:
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
