"""A place in line below one parent: the ground that locks and elections stand on.

Sources: ZooKeeper Recipes and Solutions, Locks and Leader Election.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cmp_to_key
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.abc

from recipes.core import paths
from recipes.core.errors import AuthFailed, ConnectionLoss, HoldLost, NoNode, SessionError, StoreError, invariant

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.scope import SessionScope
    from recipes.core.client.session import Call, Session
    from recipes.core.client.watch import DeletionWatch

_CLEAN_UP_SECONDS = 2.0  # how long leaving may hold its caller up before the client's owner task takes over


class Participant(NamedTuple):
    """Someone in line, as read from the store: true at the moment of reading, no longer than that."""

    id: str  # chosen anew for each acquire
    data: bytes
    fence: int  # czxid of the znode
    session_id: int
    since_ms: int  # the server's wall clock when the znode was made
    path: str


def in_order(names: Sequence[str], marker: str) -> list[str]:
    """Those of `names` that stand in the line of `marker`, first come first.

    Sequence numbers are a signed 32-bit counter, so they are compared as serial numbers (RFC 1982): after the
    wrap a newcomer still is last. Names made by others, which do not have our form, are left out.
    """
    numbered = [(int(tail), name) for name in names for tail in [_sequence_text(name, marker)] if tail]
    numbered.sort(key=cmp_to_key(_compare))
    return [name for _, name in numbered]


def is_owner(name: str, order: Sequence[str], owner: int, session_id: int, now: float, expires_at: float) -> bool:
    """Whether `name` holds what the line is for: its znode exists, is the live session's, is first, and is in time.

    order: the line as last read. owner: ephemeralOwner of `name`. now, expires_at: the client's monotonic clock
    and the moment, on that clock, until which the session is sure to live.
    """
    return bool(order) and order[0] == name and owner == session_id and now < expires_at


def id_of(name: str, marker: str) -> str:
    """The id that the owner of the znode `name` chose."""
    return name.removeprefix("_r_").rpartition(f"-{marker}")[0]


async def read_line(client: "Client", path: str, marker: str) -> list[Participant]:
    """Everyone in line below `path`, first come first; those that leave meanwhile are left out."""
    line = []
    for name in in_order(await _children(client, path), marker):
        try:
            data, stat = await client.get(paths.join(path, name))
        except NoNode:
            continue
        line.append(
            Participant(id_of(name, marker), data, stat.czxid, stat.ephemeral_owner, stat.ctime, paths.join(path, name))
        )
    return line


class Loss:
    """Whether, and when, what a block holds was lost; read like an anyio Event."""

    def __init__(self, session: "Session", clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock
        self.deleted = anyio.Event()  # our znode is gone, and we did not ask for it

    def __repr__(self) -> str:
        return f"<Loss: {'lost' if self.is_set() else 'not lost'}>"

    def is_set(self) -> bool:
        """True from the moment of loss on, which is before the block is cancelled."""
        late = self._clock() >= self._session.expires_at  # a loop that was blocked sees this first
        return self._session.lost or self.deleted.is_set() or late

    async def wait(self) -> None:
        """Return once it is lost."""
        if self.is_set():
            return
        async with anyio.create_task_group() as tasks:

            async def wait_deleted() -> None:
                await self.deleted.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(wait_deleted)
            await self._session.lost_event.wait()
            tasks.cancel_scope.cancel()


class Contender:
    """One znode in the line below `parent`, from its creation to its deletion.

    marker: what the line is for, "lock-" or "lead-". The znode is `_r_<id>-<marker><sequence>`; the id lets us
    recognise our own when the reply to its creation is lost. Made by `contend`, which keeps its promises.
    """

    def __init__(self, client: "Client", session: "Session", parent: str, marker: str, data: bytes) -> None:
        self.lost = Loss(session, client.clock)
        self.path = ""
        self.czxid = 0
        self._client = client
        self._session = session
        self._parent = parent
        self._marker = marker
        self._data = data
        self._prefix = f"_r_{client.random.getrandbits(64):016x}-{marker}"
        self._owner = 0
        self._watch: DeletionWatch | None = None
        self._deleting = False  # whether we ever asked for our znode's deletion
        self._asked = False  # whether a create was handed to the client, and what it made is not gone for sure

    async def join(self) -> list[str]:
        """Make our znode and return the line as it was right after that."""
        while True:
            try:
                return await self._create_and_list()
            except NoNode:
                with suppress(ConnectionLoss):  # then it is as far as it got, and the create fails once more
                    await self._client.ensure_path(self._parent, container=True)
            except ConnectionLoss:
                # sync: the server we are on now may not have seen yet what the one before carried out.
                await self._client.sync(self._parent)
                order = await self._line()
                await self._adopt(order)
                if self.path:
                    return order

    async def wait_first(self, order: list[str]) -> None:
        """Return once we are first, waking only when the one before us goes or the connection changes.

        order: what `join` returned.
        """
        while not self.is_first(order):
            if self._name not in order:
                self.lost.deleted.set()
                return
            if order[0] == self._name:
                # First, yet past the local deadline: an answer moves that on, unless the client gives the session up.
                await self._client.sync(self._parent)
                continue
            before = order[order.index(self._name) - 1]
            stat, watch = await self._client.exists_watch(paths.join(self._parent, before))
            try:
                if stat is not None:
                    await watch.wait()
            finally:
                watch.cancel()
            order = await self._line()

    def is_first(self, order: list[str]) -> bool:
        """Whether we own what the line is for, `order` being the line as last read."""
        expires_at = self._session.expires_at
        return is_owner(self._name, order, self._owner, self._session.id, self._client.clock(), expires_at)

    def watch_own(self, scope: "SessionScope") -> None:
        """Cancel `scope` when our znode goes, as when an operator deletes it to break a lock.

        This needs neither a task nor a moment to wait: the request goes out with whatever the block sends first.
        """

        def gone() -> None:
            self.lost.deleted.set()
            scope.cancel()

        with suppress(SessionError, AuthFailed):  # the session is over, which ends the block as well
            self._watch = self._client.watch_deletion(self.path, gone)

    async def resign(self) -> None:
        """Delete our znode and return once the server has confirmed that it is gone."""
        while self.path and not self._session.lost:
            try:
                await self._delete()
            except ConnectionLoss:
                continue  # the client waits for the next connection; our znode's name is never used again

    async def leave(self) -> None:
        """Delete our znode whatever happens: here if that is quick, else by the client's owner task."""
        if self._watch is not None:
            self._watch.cancel()
        if self._session.lost or not self._asked:
            return
        try:
            with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True), suppress(SessionError, AuthFailed):
                await (self._delete() if self.path else self._delete_unseen())
        finally:  # also when asyncio cancels the task itself, which no scope keeps away
            if self._asked and not self._session.lost:
                path = self.path or paths.join(self._parent, self._prefix)
                self._client.delete_later(path, prefix=not self.path)

    @property
    def session_id(self) -> int:
        """Of the session that our znode goes with."""
        return self._session.id

    @property
    def _name(self) -> str:
        return self.path.rpartition("/")[2]

    async def _create_and_list(self) -> list[str]:
        """Send create2 and getChildren back to back: uncontended, the two are all an acquire needs."""
        self._asked = True
        create = self._client.start_place(paths.join(self._parent, self._prefix), self._data)
        listing = self._client.start_children(self._parent)
        order: list[str] = []
        try:
            # The create's reply comes before this one, so waking up once serves both.
            order = in_order(await listing.result(), self._marker)
        except NoNode:
            pass  # as the create says, too, unless the parent went after it
        finally:
            self._learn(create)
        invariant(create.done, "a reply came before that to an earlier request")
        if create.error is not None:
            raise create.error
        # Without our znode in it, the two went over different connections.
        return order if self._name in order else await self._line()

    def _learn(self, create: "Call") -> None:
        """Take in what came of our create, as far as that is known; if nobody knows, nobody waits any more."""
        create.abandoned = not create.done
        if create.done and create.error is None:
            self.path, stat = create.value
            self.czxid, self._owner = stat.czxid, stat.ephemeral_owner
        elif isinstance(create.error, StoreError):
            self._asked = False  # a create that was refused made nothing

    async def _adopt(self, order: list[str]) -> None:
        """After a lost reply: take the first znode of our id that this session owns, delete the others."""
        for name in self._own(order):
            path = paths.join(self._parent, name)
            stat = await self._client.exists(path)
            if stat is None:
                continue
            if self.path in ("", path) and stat.ephemeral_owner == self._session.id:
                self.path, self.czxid, self._owner = path, stat.czxid, stat.ephemeral_owner
            else:
                self._client.delete_later(path)

    def _own(self, order: list[str]) -> list[str]:
        return [name for name in order if name.startswith(self._prefix)]

    async def _line(self) -> list[str]:
        return in_order(await _children(self._client, self._parent), self._marker)

    async def _delete(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        first_try, self._deleting = not self._deleting, True
        try:
            await self._client.delete(self.path)
        except NoNode:
            if first_try:  # we never asked, so somebody else did
                self.lost.deleted.set()
        self.path = ""
        self._asked = False  # what its creation made is gone

    async def _delete_unseen(self) -> None:
        """Delete what a create whose reply never reached us has left behind."""
        await self._client.sync(self._parent)
        for name in self._own(await self._line()):
            with suppress(NoNode):
                await self._client.delete(paths.join(self._parent, name))
        self._asked = False


@asynccontextmanager
async def contend(
    client: "Client", path: str, marker: str, lost: type[HoldLost], data: bytes = b"", *, wait: bool = True
) -> AsyncGenerator[Contender | None]:
    """Stand in line below `path` and run the block as first of it; without `wait`, with None when not first at once.

    The block is cancelled when the session is lost or our znode is deleted by somebody else, and `lost` is raised
    at its edge, from the block's own exception if it has one. However it ends, no znode stays behind. Raises what
    every call of the client does when it is closed, or its session over, before anything was asked for.
    """
    paths.check(path)
    problem: BaseException | None = None
    first = held = was_lost = False
    scope = client.session_scope()
    with scope as session:
        contender = Contender(client, session, path, marker, data)
        try:
            order = await contender.join()
            first = contender.is_first(order)
            if wait and not first:
                await contender.wait_first(order)
                first = not (was_lost := contender.lost.is_set())
            if first:
                contender.watch_own(scope)
                held = True
                yield contender
                was_lost = contender.lost.is_set()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # carried past the scope, since a loss stands above it
            problem = error
            was_lost = was_lost or (first and contender.lost.is_set())
        finally:
            await contender.leave()
    deleted = contender.lost.deleted.is_set()
    if session.lost or deleted or was_lost:
        # Of an expired session the client may hear only after its znode has gone.
        gone = "its znode is gone: deleted by somebody else, or the session is over"
        why = gone if deleted and not session.lost else "the session is over"
        raise lost(path, why if held else f"while waiting for it: {why}") from problem
    if problem is not None:
        raise problem
    if not first:
        yield None


async def _children(client: "Client", path: str) -> list[str]:
    try:
        return await client.children(path)
    except NoNode:
        return []


def _sequence_text(name: str, marker: str) -> str:
    head, found, tail = name.rpartition(f"-{marker}")
    return tail if found and head.startswith("_r_") and tail.removeprefix("-").isdecimal() else ""


def _compare(a: tuple[int, str], b: tuple[int, str]) -> int:
    return (a[0] - b[0] + 0x80000000 & 0xFFFFFFFF) - 0x80000000
