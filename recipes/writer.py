"""Writes that are made exactly once within a session, even if replies are lost.

A client of a queue or of a counter has an ephemeral znode of its own there. Each of its multis also sets that znode,
with the version it expects. After a lost connection the same multi is sent again. If the version has moved on, the
first one was applied. If it has not, the second one is applied, and the first one never can be. So nobody needs to
guess from the state of the queue, which others may have changed.

One multi is under way at a time; writes that are submitted meanwhile go into the next one. So the more tasks write, the
more each multi carries. The Stat that the server returns for the client's znode also shows the server's time and the
multi's zxid.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from recipes.core import paths
from recipes.core.client.waiter import Waiter
from recipes.core.errors import (
    BadVersion,
    ConnectionLoss,
    InvariantBroken,
    NodeExists,
    NoNode,
    RecipesError,
    StoreError,
)
from recipes.core.jute.records import Stat

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi, Outcome, Result

MOST_BYTES = 1_000_000  # of one request: Apache's servers refuse more than 1,048,575
_BATCH_BYTES = 400_000
_MOST_OPERATIONS = 1_000
_CLEAN_UP_SECONDS = 2.0  # how long a cancelled caller waits at most for the outcome of what was sent
_MOST_LOSSES = 5  # connection losses in a row with the same multi under way


class Write:
    """Operations that are applied together or not at all, and their outcome.

    operations: a multi that is not sent itself; its operations become part of one that is.
    heard: called once the outcome is known, outside of any task. shows: whether `results` are wanted.
    sent: called right behind each multi that has these operations, to send requests that follow it.
    """

    __slots__ = (
        "_waiting",
        "carried",
        "done",
        "error",
        "failed_at",
        "heard",
        "operations",
        "results",
        "sent",
        "shows",
        "stat",
    )

    def __init__(
        self,
        operations: "Multi",
        heard: "Callable[[Write], None] | None" = None,
        *,
        shows: bool = False,
        sent: Callable[[], None] | None = None,
    ) -> None:
        self.operations: Multi = operations
        self.heard: Callable[[Write], None] | None = heard
        self.shows: bool = shows
        self.sent: Callable[[], None] | None = sent
        self.carried: bool = False  # whether a `Writer.write` call waits for it, and then sends the waiting writes
        self.done: bool = False
        self.error: RecipesError | None = None
        self.failed_at: int = -1  # index of the operation that was refused
        self.results: list[Result] | None = None  # one per operation; None if the reply was lost, or without `shows`
        self.stat: Stat | None = None  # of the client's znode: mzxid and mtime are the multi's
        self._waiting: list[Waiter] | None = None  # one for each task that waits

    async def wait(self) -> None:
        """Return once the outcome is known."""
        if not self.done:
            waiter = Waiter()
            self._waiting = [waiter] if self._waiting is None else [*self._waiting, waiter]
            await waiter.wait()

    def finish(self, error: RecipesError | None = None) -> bool:
        """Called by the Writer. Returns whether this woke a task that will send the waiting writes."""
        self.done, self.error = True, error
        for each in self._waiting or ():
            each.set()
        if self.heard is not None:
            self.heard(self)
        return self.carried and self._waiting is not None


class Writer:
    """Makes the writes of one session to one queue or value, in order.

    folder: parent of the clients' znodes, created if missing. data: of these znodes. prefix: of their names.
    """

    def __init__(self, client: "Client", folder: str, data: bytes, prefix: str = "") -> None:
        self.server_clock: ServerClock = ServerClock(client.clock)
        self._client = client
        self._folder = folder
        self._data = data
        self._prefix = prefix
        self._own = ""  # our znode
        self._version = 0
        self._making = anyio.Lock()
        self._waiting: deque[Write] = deque()
        self._under_way: list[Write] = []
        self._losses = 0
        self._doubtful = False
        self._gathering = False

    async def write(
        self,
        operations: "Multi",
        *,
        undo: "Callable[[], Iterable[Multi]]" = tuple,
        keep: bool = False,
        shows: bool = False,
        sent: Callable[[], None] | None = None,
    ) -> Write:
        """Apply operations and return the finished Write; its `error` is set when a server refused them.

        Raises ConnectionLoss when nobody knows the outcome, and the session's error when it is over.

        shows, sent: see Write.
        undo: gives the writes to make if this call is cancelled and the operations are applied nevertheless. If it is
        cancelled before they are sent, they never are, unless `keep` is set. If they were sent, it waits for the
        outcome for two seconds at most; `undo` happens whenever the outcome comes.
        """
        if not self._own:
            await self.prepare()
        write = Write(operations, shows=shows, sent=sent)
        write.carried = True
        self._waiting.append(write)
        try:
            if not (self._gathering or self._under_way):
                await self._gather()
            if not write.done:
                await write.wait()
            if self._waiting:
                await self._gather()
        except BaseException:
            if not keep:
                self._abandon(write, undo)
            self._send()  # the cancellation may have come before the write was sent: nobody else sends the queue
            with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
                await write.wait()
            raise
        finally:
            write.carried = False  # if its outcome is still to come, this task will not be there
            self._send()  # `finish` may have relied on this task to send the waiting writes
        if write.error is not None and not isinstance(write.error, StoreError):
            raise write.error
        return write

    def send(self) -> None:
        """Send the writes that were submitted with send=False."""
        self._send()

    def submit(self, write: Write, *, send: bool = True) -> None:
        """Queue a write; its `heard` gets the outcome. Call `prepare` first. send: False if more writes follow now."""
        self._waiting.append(write)
        if send:
            self._send()

    async def prepare(self) -> None:
        """Create our znode and its ancestors, unless we have it. Raises the errors of every call of the client."""
        if self._own:
            return
        async with self._making:
            if self._own:
                return
            own = paths.join(self._folder, f"{self._prefix}{self._client.random.getrandbits(64):016x}")
            while True:
                try:
                    await self._client.create(own, self._data, ephemeral=True)
                    break
                except ConnectionLoss:
                    continue
                except NodeExists:  # its name is unique, so we created it and the reply was lost
                    break
                except NoNode:
                    await make_path(self._client, self._folder)
            self._own, self._version = own, 0

    async def touch(self) -> None:
        """Read the server's clock, by a write."""
        await self.write(self._client.multi())

    async def _gather(self) -> None:
        """Send the waiting writes after all ready tasks have run, so that one multi carries all their writes."""
        if not self._gathering and not self._under_way:
            self._gathering = True
            try:
                await anyio.lowlevel.cancel_shielded_checkpoint()
            finally:
                self._gathering = False
            self._send()

    def _abandon(self, write: Write, undo: "Callable[[], Iterable[Multi]]") -> None:
        def take_back(write: Write) -> None:
            if write.error is None and not self._client.session.lost:
                for operations in undo():
                    self.submit(Write(operations))

        if write in self._waiting:
            self._waiting.remove(write)
            write.finish(ConnectionLoss("it was cancelled before it was sent"))
        elif write.done:
            take_back(write)
        else:
            write.heard = take_back

    def _send(self) -> None:
        """Send the next multi, unless one is under way."""
        if self._under_way or self._gathering or not self._waiting:
            return
        size = operations = 0
        while self._waiting:
            write = self._waiting[0]
            size += write.operations.size
            operations += write.operations.count
            if self._under_way and (size > _BATCH_BYTES or operations > _MOST_OPERATIONS):
                break
            self._under_way.append(self._waiting.popleft())
        self._request()

    def _request(self) -> None:
        if not self._own:  # somebody else deleted it; the next write makes another
            self._fail_all(ConnectionLoss("the znode of this client is gone", path=self._folder))
            return
        multi = self._client.multi()
        try:
            multi.set(self._own, self._data, self._version)
            shows = False
            for write in self._under_way:
                multi.extend(write.operations)
                shows = shows or write.shows
            multi.start(self._heard, only_first=not shows)
            for write in self._under_way:
                if write.sent is not None:
                    write.sent()
        except RecipesError as error:  # the client is closed, or the session over
            self._fail_all(error)

    def _heard(self, call: "Call") -> None:
        """The multi's Call is done: with a reply, or without one."""
        if isinstance(call.error, ConnectionLoss) and self._losses < _MOST_LOSSES:
            self._losses += 1
            self._doubtful = True
            self._request()
        elif call.error is not None:
            self._own = ""  # the version of our znode is unknown
            self._fail_all(call.error)
        else:
            self._take_in(call)

    def _take_in(self, call: "Call") -> None:
        doubtful, self._doubtful, self._losses = self._doubtful, False, 0
        batch, self._under_way = self._under_way, []
        outcome: Outcome = call.value
        woken = False
        self._gathering = True  # writes that callbacks submit now go together
        try:
            if outcome.error is None:
                self._version += 1
                woken = self._share_out(batch, outcome, call.sent_at)
            elif outcome.failed_at > 0:
                woken = self._refuse_one(batch, outcome)
            elif doubtful and isinstance(outcome.error, BadVersion):
                self._version += 1
                for write in batch:  # they were applied before the connection broke
                    woken = write.finish() or woken
            else:
                self._own = ""  # somebody else deleted or changed our znode
                self._under_way = batch
                self._fail_all(
                    ConnectionLoss("the znode of this client is gone", path=self._folder, maybe_applied=doubtful)
                )
        finally:
            self._gathering = False
        if not woken or outcome.error is not None:
            self._send()

    def _share_out(self, batch: list[Write], outcome: "Outcome", sent_at: float) -> bool:
        woken = False
        stat = outcome.results[0]
        if not isinstance(stat, Stat):
            raise InvariantBroken("a set was answered without a Stat")
        self.server_clock.observe(stat.mtime, sent_at)
        at = 1
        for write in batch:
            if write.shows:
                write.results = outcome.results[at : at + write.operations.count]
            write.stat = stat
            at += write.operations.count
            woken = write.finish() or woken
        return woken

    def _refuse_one(self, batch: list[Write], outcome: "Outcome") -> bool:
        """Nothing was applied: finish the write that was refused, and queue the others again."""
        at, write = 1, batch[0]
        for write in batch:
            if outcome.failed_at < at + write.operations.count:
                break
            at += write.operations.count
        batch.remove(write)
        self._waiting.extendleft(reversed(batch))
        write.failed_at = outcome.failed_at - at
        return write.finish(outcome.error)

    def _fail_all(self, error: RecipesError) -> None:
        writes = [*self._under_way, *self._waiting]
        self._under_way.clear()
        self._waiting.clear()
        self._losses, self._doubtful = 0, False
        for write in writes:
            write.finish(error)


async def make_path(client: "Client", path: str) -> None:
    """Create a znode and its ancestors; tries again when a reply is lost."""
    for _ in range(_MOST_LOSSES):
        try:
            await client.ensure_path(path)
        except ConnectionLoss:
            continue
        return
    await client.ensure_path(path)


class ServerClock:
    """An estimate of the servers' clock, from the times that they give to our writes.

    Clocks of different servers may differ, so use it only for durations between two writes.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._server_ms = 0
        self._earliest = self._latest = 0.0  # our clock's bounds for the moment of `_server_ms`

    def observe(self, server_ms: int, sent_at: float) -> None:
        """A server gave `server_ms` to a write that was sent at `sent_at` and answered now."""
        self._server_ms, self._earliest, self._latest = server_ms, sent_at, self._clock()

    @property
    def age(self) -> float:
        """Seconds since the last observation; infinite without one."""
        return self._clock() - self._latest if self._server_ms else float("inf")

    def not_before_ms(self) -> int:
        """A lower bound of the server's clock now."""
        return self._server_ms + int((self._clock() - self._latest) * 1000)

    def not_after_ms(self) -> int:
        """An upper bound of the server's clock now."""
        return self._server_ms + int((self._clock() - self._earliest) * 1000) + 1
