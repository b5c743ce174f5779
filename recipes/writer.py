"""Writes that are made exactly once within a session, whatever happens to their replies.

A client of a queue or of a counter has a znode of its own there, ephemeral. Each of its multis also sets that znode,
with the version it expects. After a lost connection the same multi is sent again: where the version has moved on, it
had been applied the first time, and where it has not, it is applied now, and the earlier one never can be. So nobody
needs to guess from what is found there, which others change meanwhile.

One multi is under way at a time, and what is asked for meanwhile goes into the next one: the more tasks write, the more
each multi carries. The Stat that the server gives for the client's znode is also its clock and the multi's zxid.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from recipes.core import paths
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

Operation = Callable[["Multi"], None]

MOST_BYTES = 1_000_000  # of one request: Apache's servers refuse more than 1,048,575
_BATCH_BYTES = 400_000
_MOST_OPERATIONS = 1_000
_OPERATION_BYTES = 90  # of one operation beside its path and data: ACL, lengths, versions
_CLEAN_UP_SECONDS = 2.0  # how long a cancelled caller may be held up until what was sent is known
_MOST_LOSSES = 5  # of the connection, in a row, with the same multi under way


class Write:
    """Operations that are applied together or not at all, and what came of them.

    heard: called once the outcome is known, in no task.
    """

    __slots__ = ("_waiting", "carried", "done", "error", "failed_at", "heard", "operations", "results", "size", "stat")

    def __init__(
        self, operations: Sequence[Operation], size: int = 0, heard: "Callable[[Write], None] | None" = None
    ) -> None:
        self.operations: Sequence[Operation] = operations
        self.size: int = size + _OPERATION_BYTES * len(operations)
        self.heard: Callable[[Write], None] | None = heard
        self.carried: bool = False  # whether `Writer.write` waits for it, which sends what is asked for meanwhile
        self.done: bool = False
        self.error: RecipesError | None = None
        self.failed_at: int = -1  # which operation was refused
        self.results: list[Result] | None = None  # of each operation; None when they were applied and the reply lost
        self.stat: Stat | None = None  # of the client's znode, right after them: mzxid and mtime are the multi's own
        self._waiting: anyio.Event | None = None

    async def wait(self) -> None:
        """Return once the outcome is known."""
        if not self.done:
            if self._waiting is None:
                self._waiting = anyio.Event()
            await self._waiting.wait()

    def finish(self, error: RecipesError | None = None) -> bool:
        """Called by the Writer. Whether a task is awake now that sends what is asked for meanwhile."""
        self.done, self.error = True, error
        if self._waiting is not None:
            self._waiting.set()
        if self.heard is not None:
            self.heard(self)
        return self.carried and self._waiting is not None


class Writer:
    """Makes the writes of one session to one queue or value, in order.

    folder: where the clients have their znodes, made when it is missing. data: of these znodes. prefix: of their names.
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
        operations: Sequence[Operation],
        size: int = 0,
        *,
        undo: Sequence[Sequence[Operation]] = (),
        keep: bool = False,
    ) -> Write:
        """Apply operations and return what came of them; `error` is set when a server refused them.

        Raises what every call of the client does when nobody knows, or the session is over. When this is cancelled
        before they are under way they never will be, unless `keep` is set. Otherwise their outcome is waited for, for
        two seconds at most, and whenever it comes, each of `undo` is made if they were applied.
        """
        await self.prepare()
        write = Write(operations, size)
        write.carried = True
        self._waiting.append(write)
        try:
            await self._gather()
            await write.wait()
            if self._waiting:
                await self._gather()
        except BaseException:
            if not keep:
                self._abandon(write, undo)
            self._send()  # it may have been cancelled before it was sent, and then nobody else would
            with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
                await write.wait()
            raise
        finally:
            self._send()  # others may rely on it that a task that was woken goes on with what waits
        if write.error is not None and not isinstance(write.error, StoreError):
            raise write.error
        return write

    def send(self) -> None:
        """What was submitted without being sent goes now."""
        self._send()

    def submit(self, write: Write, *, send: bool = True) -> None:
        """Apply operations soon; `heard` tells the outcome. Only after `prepare`. send: no other write follows now."""
        self._waiting.append(write)
        if send:
            self._send()

    async def prepare(self) -> None:
        """Make our znode, and what is above it. Raises what every call of the client does."""
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
                except NodeExists:  # its name is ours alone, so that it was made and the reply lost
                    break
                except NoNode:
                    await make_path(self._client, self._folder)
            self._own, self._version = own, 0

    async def touch(self) -> None:
        """Look at the server's clock."""
        await self.write(())

    async def _gather(self) -> None:
        """Send what waits, once the tasks that are ready have had their say: one multi carries it all."""
        if not self._gathering and not self._under_way:
            self._gathering = True
            try:
                await anyio.lowlevel.cancel_shielded_checkpoint()
            finally:
                self._gathering = False
            self._send()

    def _abandon(self, write: Write, undo: Sequence[Sequence[Operation]]) -> None:
        def take_back(write: Write) -> None:
            if write.error is None and not self._client.session.lost:
                for operations in undo:
                    self.submit(Write(operations))

        if write in self._waiting:
            self._waiting.remove(write)
            write.finish(ConnectionLoss("it was cancelled before it was sent"))
        elif write.done:
            take_back(write)
        else:
            write.heard = take_back

    def _send(self) -> None:
        """Put the next multi on its way, unless one is."""
        if self._under_way or self._gathering or not self._waiting:
            return
        size = operations = 0
        while self._waiting:
            write = self._waiting[0]
            size += write.size
            operations += len(write.operations)
            if self._under_way and (size > _BATCH_BYTES or operations > _MOST_OPERATIONS):
                break
            self._under_way.append(self._waiting.popleft())
        self._request()

    def _request(self) -> None:
        if not self._own:  # it was deleted by somebody else, and the next writer makes another
            self._fail_all(ConnectionLoss("the znode of this client is gone", path=self._folder))
            return
        multi = self._client.multi()
        try:
            multi.set(self._own, self._data, self._version)
            for write in self._under_way:
                for operation in write.operations:
                    operation(multi)
            multi.start(self._heard)
        except RecipesError as error:  # closed, or the session over
            self._fail_all(error)

    def _heard(self, call: "Call") -> None:
        """The reply has come, or will not."""
        if isinstance(call.error, ConnectionLoss) and self._losses < _MOST_LOSSES:
            self._losses += 1
            self._doubtful = True
            self._request()
        elif call.error is not None:
            self._own = ""  # nobody knows its version
            self._fail_all(call.error)
        else:
            self._take_in(call)

    def _take_in(self, call: "Call") -> None:
        doubtful, self._doubtful, self._losses = self._doubtful, False, 0
        batch, self._under_way = self._under_way, []
        outcome: Outcome = call.value
        woken = False
        self._gathering = True  # what is submitted from here on goes together
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
            write.results = outcome.results[at : at + len(write.operations)]
            write.stat = stat
            at += len(write.operations)
            woken = write.finish() or woken
        return woken

    def _refuse_one(self, batch: list[Write], outcome: "Outcome") -> bool:
        """Nothing was applied: tell the one that was refused, and send the others once more."""
        at, write = 1, batch[0]
        for write in batch:
            if outcome.failed_at < at + len(write.operations):
                break
            at += len(write.operations)
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
    """Make a znode and what is above it, also when a reply is lost."""
    for _ in range(_MOST_LOSSES):
        try:
            await client.ensure_path(path)
        except ConnectionLoss:
            continue
        return
    await client.ensure_path(path)


class ServerClock:
    """What the servers' clock shows, told from the times that they give to our writes.

    Two clocks of different servers may differ; durations between two writes are what it is good for.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._server_ms = 0
        self._earliest = self._latest = 0.0  # between which moments of ours the server's clock showed that

    def observe(self, server_ms: int, sent_at: float) -> None:
        """A server gave `server_ms` to a write that was sent at `sent_at` and answered now."""
        self._server_ms, self._earliest, self._latest = server_ms, sent_at, self._clock()

    @property
    def age(self) -> float:
        """Seconds since it was looked at."""
        return self._clock() - self._latest if self._server_ms else float("inf")

    def not_before_ms(self) -> int:
        """The server's clock shows this much at least."""
        return self._server_ms + int((self._clock() - self._latest) * 1000)

    def not_after_ms(self) -> int:
        """The server's clock shows this much at most."""
        return self._server_ms + int((self._clock() - self._earliest) * 1000) + 1
