"""A message: an item that is claimed by its consumer's session, and the block that ends with its acknowledgement."""

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio

from recipes.core.client.session import OVER
from recipes.core.errors import AckLost, NoNode, RecipesError, SessionError, StoreError
from recipes.hold import Hold, Tenure
from recipes.queue import claims
from recipes.queue.dead_letters import bury
from recipes.queue.records import Record
from recipes.writer import Write

if TYPE_CHECKING:
    from recipes.core.client.multi import Multi
    from recipes.queue.finder import Delivery, Finder
    from recipes.queue.layouts import ForeignCustody
    from recipes.queue.native import Native

T = TypeVar("T")

ACKNOWLEDGED = "acknowledged"
RELEASED = "released"
FAILED = "its block failed"
CANCELLED = "cancelled"
PUT_BACK = "put back by drain()"

_CONFIRM_SECONDS = 0.08  # how long a cancelled block waits at most until the item is back


class Rules:
    """What a queue does with failed deliveries. delays: shortest and longest before the next delivery, in seconds."""

    __slots__ = ("dead", "delays", "max_deliveries")

    def __init__(self, dead: "Native | None", max_deliveries: float, delays: tuple[float, float]) -> None:
        self.dead: Native | None = dead
        self.max_deliveries: float = max_deliveries
        self.delays: tuple[float, float] = delays


class Custody(Tenure):
    """The claim behind a Message. leaving: called once the block has ended, before anything is written."""

    def __init__(
        self,
        native: "Native",
        finder: "Finder",
        delivery: "Delivery",
        rules: Rules,
        leaving: Callable[["Custody"], None] | None = None,
    ) -> None:
        path = finder.claim_path(delivery)
        super().__init__(native.client, path, native.buckets.path(delivery.bucket, delivery.item.name), AckLost)
        self.path: str = path
        self.fence: int = delivery.fence
        self.delivery = delivery
        self._native = native
        self._finder = finder
        self._rules = rules
        self._leaving = leaving
        self.begun: bool = False
        self._error: BaseException | None = None
        self._settled = False  # the item has been given back already

    async def obtain(self, wait: bool) -> bool:
        """Return True: the item was claimed before this object was made."""
        self.begun = True
        return True

    def watch_own(self) -> None:
        """Watch the claim, unless the block ends within this turn of the event loop, as very short ones do."""
        self.client.home.run_next(self._watch_soon)

    def _watch_soon(self) -> None:
        if not (self._settled or self.ended.is_set()):
            super().watch_own()

    async def exit(self, error: BaseException | None) -> bool | None:
        """End the block: acknowledge the item, or return it to the queue."""
        if self._scope.home.why_not_here():
            return await super().exit(error)
        self._error = error
        if not self.ended.is_set():
            if error is None:
                self.ended.set(ACKNOWLEDGED)
            elif isinstance(error, Exception):
                self.ended.set(FAILED)
            else:
                self.ended.set(CANCELLED)
        return await self._finish(error, RELEASED)

    def put_back(self) -> None:
        """Cancel the block, so that the item returns to the queue, uncounted."""
        if not self.ended.is_set():
            self.ended.set(PUT_BACK)
            self._scope.cancel()

    async def release(self, why: str) -> None:
        """Return the item to the queue, uncounted, and wait until that is done. The block goes on without it."""
        self._scope.home.check()
        if not self.ended.is_set():
            self.ended.set(why)
        if not self._settled and not self.ended.lost:
            self._settled = True
            self._stop_watching()
            await self._write(self._finder.back(self.delivery))

    async def extend(self) -> None:
        """Renew the lease."""
        self._scope.home.check()
        try:
            if not self.ended.is_set():
                await self.client.set(self.path, self._native.who)
                return
        except NoNode:
            self._gone()
        raise AckLost(self._about, self.ended.why)

    def check(self, multi: "Multi") -> None:
        """Make the caller's `multi` fail unless we still have the item."""
        told = claims.handed_out(self.delivery.item)
        multi.check(self.path)
        multi.check(self._native.buckets.path(self.delivery.bucket, told), 0)  # another delivery outdates it

    async def _leave(self, *, at_once: bool) -> None:
        self._stop_watching()
        self._scope.forget()
        if self._leaving is not None:
            self._leaving(self)
        if self._settled or self.ended.lost or self.client.session.lost:
            self._native.writer.send()
            return
        self._settled = True
        error = self._error
        if error is None:
            operations = self._native.buckets.step(self.delivery.bucket, self.delivery.item, claims.acknowledge)
            self._native.free(self._record, operations)
            await self._write(operations)
        elif isinstance(error, Exception):
            await self._fail(error)
        else:
            with anyio.move_on_after(_CONFIRM_SECONDS, shield=True):
                await self._write(self._finder.back(self.delivery))

    async def _fail(self, error: Exception) -> None:
        item, rules = self.delivery.item, self._rules
        attempts = item.deliveries + 1
        if rules.dead is not None and attempts >= rules.max_deliveries:
            try:
                if not await bury(self._native, rules.dead, self.delivery, f"{type(error).__name__}: {error}"):
                    self._gone()
            except SessionError as failure:
                self._nobody_knows(failure)
            except BaseException:  # cancelled: if the item has not been moved, it goes back
                self._native.writer.submit(Write(self._finder.back(self.delivery)))
                raise
            return
        delay_ms = claims.retry_delay_ms(attempts, *rules.delays)
        due_ms = self._native.writer.server_clock.not_after_ms() + delay_ms if delay_ms else 0
        await self._write(self._native.buckets.operations(self.delivery.bucket, claims.retry(item, due_ms)))

    async def _write(self, operations: "Multi") -> None:
        """Apply operations; a refusal, or the end of the session, is recorded as a loss of the claim."""
        try:
            write = await self._native.writer.write(operations, keep=True)
        except SessionError as error:
            self._nobody_knows(error)
            return
        if isinstance(write.error, StoreError):
            self._gone()

    def _nobody_knows(self, error: SessionError) -> None:
        """The outcome of the last write is unknown: the claim counts as lost, and must not stay."""
        self.ended.set(OVER if self.client.session.lost else str(error), lost=True)
        self.client.look_after(self._unclaim)

    async def _unclaim(self) -> None:
        """If the claim still exists, and is ours, end it, as the end of the session would."""
        native, delivery = self._native, self.delivery
        with suppress(RecipesError):
            await native.writer.prepare()
            if await self._finder.is_ours(delivery):
                native.writer.submit(Write(native.buckets.operations(delivery.bucket, claims.unclaim(delivery.item))))

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    @property
    def _record(self) -> Record:
        return self.delivery.record


class Message(Hold, Generic[T]):
    """An item in hand, valid inside its block: `async with message:`.

    The end of the block acknowledges the item, which is then gone for good. If the block raises, its exception goes on
    unchanged, and the item returns to its old place, to be handed out again after `retry_delay`, or goes to the dead
    letters. If the block is cancelled from outside, the item returns at once, and the delivery is not counted. If the
    process dies, the item returns once the servers have ended the session.

    data: the value that was put. attempt: 1 at the first delivery. key, priority: as given to `put`; the key is ""
    without one. reason: why the item is a dead letter, else "".
    fence: czxid of the claim; a later consumer's is higher, so that storage can refuse an older one.
    `ended`, `lost`, `why`: see Hold.

    Raises AckLost at the end of the block when the claim was lost: the session is over, or somebody else deleted the
    claim, as consumers do when a lease has run out. The block is cancelled first.
    """

    __slots__ = ("attempt", "data", "key", "priority", "reason")

    _tenure: "Custody | ForeignCustody"

    def __init__(
        self,
        custody: "Custody | ForeignCustody",
        data: T,
        *,
        attempt: int = 1,
        key: str = "",
        priority: int = 100,
        reason: str = "",
    ) -> None:
        super().__init__(custody)
        self.data: T = data
        self.attempt: int = attempt
        self.key: str = key
        self.priority: int = priority
        self.reason: str = reason

    async def __aenter__(self) -> Self:
        if not await self._tenure.enter():
            raise AckLost(self.path, self.why)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._tenure.exit(error)

    async def release(self) -> None:
        """Return the item to its old place, uncounted, and wait until it is there. The block may go on without it.

        If the claim was lost, the end of the block raises AckLost. Raises the errors of every call of the client.
        """
        await self._tenure.release(RELEASED)

    async def extend(self) -> None:
        """Renew the lease, by the servers' clock. Raises AckLost if the claim was taken away already."""
        await self._tenure.extend()

    def check(self, multi: "Multi") -> None:
        """Make `multi`, a `client.multi()`, fail unless this client still has the item."""
        self._tenure.check(multi)


def give_back(native: "Native", finder: "Finder", deliveries: "list[Delivery]") -> list[Write]:
    """Return claimed items to their places. Returns the writes, which the caller can wait for."""
    if native.client.session.lost:  # the claims went with it
        return []
    writes = [Write(finder.back(delivery)) for delivery in deliveries]
    for write in writes:
        native.writer.submit(write, send=False)
    if writes:
        native.writer.submit(Write(native.client.multi()))
    return writes
