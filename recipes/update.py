"""Read, change, write: updates of one znode's data, each made exactly once while the session lives.

An update is a function of the data. Updates that tasks of one client ask for while a write is under way are applied in
order and written together.

Each write is a multi that also sets a znode of the client's own, below the changed znode (writer.py). That znode shows
whether a write whose reply was lost was applied. It also makes sure that nobody deletes the changed znode and creates
it again unnoticed, which a check of the version alone would miss: a znode with a child cannot be deleted.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import anyio
import anyio.lowlevel

from recipes.core import paths
from recipes.core.client.backoff import pauses
from recipes.core.client.view import Node
from recipes.core.errors import BadVersion, ConnectionLoss, NoNode, RecipesError, StoreError
from recipes.core.jute.records import Stat
from recipes.writer import Write, Writer

if TYPE_CHECKING:
    from recipes.core.client.client import Client

R = TypeVar("R")
Change = Callable[[bytes], tuple[bytes, R]]  # old data -> new data, and the result for the caller

_SHORTEST_PAUSE = 0.002  # seconds, after the second conflict in a row; it doubles
_LONGEST_PAUSE = 0.5
_MARK = "writer-"


class Outcome(NamedTuple):
    """The result of one change, or the error that it raised; then it changed nothing."""

    told: Any
    error: Exception | None


def apply_in_order(data: bytes, changes: Sequence[Change[Any]]) -> tuple[bytes, list[Outcome]]:
    """Apply changes one after the other. Returns the final data and the outcome of each change. Pure."""
    outcomes = []
    for change in changes:
        try:
            data, told = change(data)
            outcomes.append(Outcome(told, None))
        except Exception as error:  # for the caller of this change
            outcomes.append(Outcome(None, error))
    return data, outcomes


class _Update:
    """A requested update, until its outcome is known."""

    __slots__ = ("abandoned", "change", "outcome")

    def __init__(self, change: Change[Any]) -> None:
        self.change = change
        self.abandoned = False  # its caller no longer waits
        self.outcome: Outcome | None = None


class Register:
    """The data of the znode at `path`, as this client updates it. All recipes of a session at one path share it."""

    def __init__(self, client: "Client", path: str) -> None:
        self.client: Client = client.bound
        self.path: str = paths.check(path)
        self._writer = Writer(self.client, path, b"", _MARK)
        self._turn = anyio.Lock(fast_acquire=True)  # for the task that carries out the updates of all tasks
        self._asked: list[_Update] = []
        self._known: Node | None = None  # the state that the next write expects
        self._refused: tuple[int, int] | None = None  # czxid and version that a server refused as outdated
        self._under_way: Write | None = None
        self._conflicts = 0
        self._pauses = pauses(client.random, shortest=_SHORTEST_PAUSE, longest=_LONGEST_PAUSE)
        self._singly = 0  # how many updates to write alone, since a batch was refused

    async def read(self) -> bytes:
        """The data, empty when there is no such znode. Raises the errors of every read."""
        try:
            return (await self.client.get(self.path))[0]
        except NoNode:
            return b""

    async def update(self, change: Change[R]) -> R:
        """Make the change once, and return its result. The znode is created if it is missing.

        After a conflict with other writers, `change` is called again on the new data, with pauses that grow to half a
        second. If the last call raises, this raises its error, and nothing has changed. If it returns the same data,
        nothing is written to the znode, but the data that it saw were current.

        When this is cancelled, or raises ConnectionLoss with `maybe_applied` or SessionExpired, the change was made
        once or not at all.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        update = _Update(change)
        self._asked.append(update)
        try:
            async with self._turn:
                while update.outcome is None:
                    await self._carry_on()
        except BaseException:
            update.abandoned = True
            if update in self._asked:
                self._asked.remove(update)
            raise
        told, error = update.outcome
        if error is not None:
            raise error
        result: R = told
        return result

    async def _carry_on(self) -> None:
        """Write requested updates, or wait for a write that is under way."""
        if self._under_way is not None:  # the task that sent it was cancelled
            await self._under_way.wait()
            return
        if self._conflicts > 1:
            await anyio.sleep(next(self._pauses))
        await self._writer.prepare()  # before the read: from then on nobody can recreate the znode
        known = self._known or await self._read()
        if known is None:
            self._conflict()
            return
        self._known = known
        taken = 1 if self._singly else len(self._asked)
        batch, self._asked = self._asked[:taken], self._asked[taken:]
        self._singly = max(0, self._singly - 1)
        under_way = self._write(known, batch)
        if under_way is not None:
            await under_way.wait()

    def _write(self, known: Node, batch: list[_Update]) -> Write | None:
        """Submit one write of the batch. Returns the write to wait for; None if it is done already."""
        data, outcomes = apply_in_order(known.data, [update.change for update in batch])
        version = known.stat.version

        multi = self.client.multi()
        if data != known.data:
            multi.set(self.path, data, version)
        else:
            multi.check(self.path, version)

        def heard(write: Write) -> None:
            self._under_way = None
            if write.error is not None:
                self._failed(write, known, batch)
                return
            stat = write.results[0] if write.results else None
            if data == known.data:
                stat = known.stat
            # After a conflict others write, too: without a new read the next write would probably be refused as well.
            self._known = Node(data, stat) if isinstance(stat, Stat) and not self._conflicts else None
            if self._conflicts:
                self._conflicts = 0
                self._pauses = pauses(self.client.random, shortest=_SHORTEST_PAUSE, longest=_LONGEST_PAUSE)
            for update, outcome in zip(batch, outcomes, strict=True):
                update.outcome = outcome

        self._under_way = Write(multi, heard, shows=True)
        self._writer.submit(self._under_way)
        return self._under_way

    def _failed(self, write: Write, known: Node, batch: list[_Update]) -> None:
        error = write.error
        again = [update for update in batch if not update.abandoned]
        if isinstance(error, BadVersion | NoNode):
            self._refused = known.stat.czxid, known.stat.version
        elif isinstance(error, ConnectionLoss) and not error.maybe_applied:
            pass  # somebody deleted our own znode; the writer makes another
        elif isinstance(error, StoreError) and len(batch) > 1:
            self._singly = len(again)  # one update was refused, perhaps as too large: try each alone
        else:
            self._known = None
            for update in batch:
                update.outcome = Outcome(None, _own(error))
            return
        self._conflict()
        self._asked[:0] = again

    def _conflict(self) -> None:
        self._known = None
        self._conflicts += 1

    async def _read(self) -> Node | None:
        """The current data and Stat; None when there is no such znode."""
        try:
            data, stat = await self.client.get(self.path)
            if self._refused == (stat.czxid, stat.version):  # our server still shows the outdated state
                await self.client.sync(self.path)
                data, stat = await self.client.get(self.path)
        except NoNode:
            return None
        return Node(data, stat)


def register_of(client: "Client", path: str) -> Register:
    """The Register of this client's session at `path`, which the recipe has checked."""
    found = client.session.shared.get((Register, path))
    if not isinstance(found, Register):
        found = client.session.shared[Register, path] = Register(client, path)
    return found


def _own(error: RecipesError | None) -> Exception:
    """A copy of the error for one caller, since each raise adds a traceback."""
    return copy.copy(error) if error is not None else RuntimeError("an update failed without an error")
