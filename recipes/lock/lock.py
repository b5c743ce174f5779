"""Mutual exclusion between processes (ZooKeeper Recipes and Solutions, Locks)."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import anyio

from recipes.contender import Contender, Loss, Participant, contend, read_line
from recipes.core.errors import LockLost, invariant

if TYPE_CHECKING:
    from recipes.core.client.client import Client

_MARKER = "lock-"


class Grant(NamedTuple):
    """What a holder has in hand, good inside its block only."""

    fence: int  # czxid of our znode: a later holder's is higher, so storage can refuse older ones
    path: str  # our znode
    session_id: int
    lost: Loss  # is_set() and wait(), for code that is shielded from cancellation


class Lock:
    """Mutual exclusion over `path`, granted in order of arrival; a release wakes exactly one waiter.

    client: a connected Client; the lock lives and dies with its session.
    path: the parent znode; made as a container, with its ancestors, when missing.
    data: kept in our znode, for `holders` and `waiters` to show.

    One Lock may be used by several tasks, which then exclude one another; a task that holds it cannot take it
    again (RuntimeError). A short disconnect changes nothing: the lock is kept until the session's local deadline.
    Raises LockLost when the session is over or our znode was deleted by somebody else: the block is cancelled
    first, so that no code runs on in the belief that it still holds the lock. Raises what every call of the client
    does, as ClientClosed or SessionExpired, when that is so before we stand in line.

    `anyio.fail_after` around it limits waiting and block together. To limit the waiting only, lift it inside:

        with anyio.fail_after(5) as limit:
            async with Lock(client, path) as grant:
                limit.deadline = math.inf

    A cancelled acquire leaves no znode behind.
    """

    def __init__(self, client: "Client", path: str, data: bytes = b"") -> None:
        self._client = client
        self._path = path
        self._data = data
        self._tasks: dict[int, AbstractAsyncContextManager[Contender | None]] = {}  # by id of the task inside

    async def __aenter__(self) -> Grant:
        task = self._refuse_reentry()
        self._tasks[task] = block = contend(self._client, self._path, _MARKER, LockLost, self._data)
        try:
            contender = await block.__aenter__()
        except BaseException:
            del self._tasks[task]
            raise
        invariant(contender is not None)
        return _grant(contender)  # type: ignore[arg-type]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._tasks.pop(anyio.get_current_task().id).__aexit__(kind, error, trace)

    @asynccontextmanager
    async def try_acquire(self) -> AsyncGenerator[Grant | None]:
        """Take the lock if that needs no waiting: `async with lock.try_acquire() as grant`, None when it is taken."""
        task = self._refuse_reentry()
        self._tasks[task] = block = contend(self._client, self._path, _MARKER, LockLost, self._data, wait=False)
        try:
            async with block as contender:
                if contender is None:
                    self._tasks.pop(task)  # nothing is held: the block may go on to wait for it
                    yield None
                else:
                    yield _grant(contender)
        finally:
            if self._tasks.get(task) is block:
                del self._tasks[task]

    async def holders(self) -> list[Participant]:
        """Who holds the lock: one, or none."""
        return (await read_line(self._client, self._path, _MARKER))[:1]

    async def waiters(self) -> list[Participant]:
        """Who waits for it, next in line first."""
        return (await read_line(self._client, self._path, _MARKER))[1:]

    def _refuse_reentry(self) -> int:
        task = anyio.get_current_task()
        if task.id in self._tasks:
            raise RuntimeError(f"task {task.name!r} is inside the lock {self._path} already; a Lock is not reentrant")
        return task.id


def _grant(contender: Contender) -> Grant:
    return Grant(contender.czxid, contender.path, contender.session_id, contender.lost)
