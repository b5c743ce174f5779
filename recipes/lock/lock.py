"""Mutual exclusion between processes (ZooKeeper Recipes and Solutions, Locks)."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from recipes.contender import Contender, check_within, read_line
from recipes.core.errors import LockLost, invariant
from recipes.hold import RELEASED, Block, Hold
from recipes.line import Participant

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL

_MARKER = "lock-"


class Grant(Hold):
    """What a holder of a Lock has in hand; see Hold."""

    __slots__ = ()

    async def release(self) -> None:
        """Give the lock up, and return once the server has confirmed it. `ended` is set before the request goes out.

        Any task may do it, more than once. Inside a block that one goes on without the lock. Without a block, raises
        LockLost if it was lost. RuntimeError in another thread, event loop or process, NoAuth without the right.
        """
        await self._tenure.release(RELEASED)


class Lock:
    """Mutual exclusion over `path`, granted in order of arrival; a release wakes exactly one waiter.

    client: a connected Client; the lock lives and dies with its session.
    path: the parent znode; made as a container, with its ancestors, when missing.
    data: kept in our znode, for `holders` and `waiters` to show.
    acl: who may do what with our znode, and with `path` where that is made here; everybody everything without it. To
        break a lock takes the right to delete at `path`.

    One Lock may be used by several tasks, which then exclude one another; a task that holds it cannot take it
    again, with this object or another one of the same client and path (RuntimeError). A short disconnect changes
    nothing: the lock is kept until the session's local deadline.

    Raises LockLost at the edge of the block when the session is over, the client was closed or our znode was deleted
    by somebody else: the block is cancelled first, so that no code runs on in the belief that it still holds the lock.
    Before we stand in line it raises what every call of the client does: ClientClosed, SessionExpired, BadArguments,
    NoAuth, InvalidACL, NotReadOnly, QuotaExceeded; NoNode when the client's chroot is missing; ConnectionLoss when one
    connection after the other broke; RuntimeError in another thread, event loop or process than the client's.

    Any task may leave the block, as a fixture does; only the task that entered it is cancelled. Where that goes on, as
    after a `start()`, use `acquire`. A cancelled acquire leaves no znode behind. Leaving waits up to 0.08 s for the
    server to confirm it; then the client sees to it.
    """

    def __init__(self, client: "Client", path: str, data: bytes = b"", *, acl: "Sequence[ACL] | None" = None) -> None:
        self._client = client
        self._path = path
        self._data = data
        self._acl = acl
        self._inside: list[tuple[object, Contender]] = []  # the tasks that entered, and with what

    async def __aenter__(self) -> Grant:
        contender = self._contend()
        invariant(await contender.enter())
        self._inside.append((self._client.home.current_task(), contender))
        return Grant(contender)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._client.home.keeps_out(error):
            return False
        return await self._take_entered().exit(error)

    async def acquire(self) -> Grant:
        """Take the lock for more than a block: `grant = await lock.acquire()`, later `await grant.release()`.

        Any task may release it. Nobody is cancelled when it is lost: look at `grant.ended`. Raises what the block does.
        """
        contender = self._contend()
        invariant(await contender.enter(as_block=False))
        return Grant(contender)

    def try_acquire(self, *, within: float = 0.0) -> AbstractAsyncContextManager[Grant | None]:
        """Take the lock if that is possible in time: `async with lock.try_acquire(within=5.0) as grant`, else None.

        within: seconds to wait for it at most, which do not limit the block. With 0 it is asked for once, and waited
        for the answer only. Raises BadArguments for another number, and what the lock's own block does.
        """
        return Block(self._contend, Grant, check_within(self._path, within))

    async def holders(self) -> list[Participant]:
        """Who holds the lock: one, or none. Raises NoAuth, SessionExpired, ClientClosed."""
        return (await read_line(self._client, self._path, _MARKER))[:1]

    async def waiters(self) -> list[Participant]:
        """Who waits for it, next in line first. Raises NoAuth, SessionExpired, ClientClosed."""
        return (await read_line(self._client, self._path, _MARKER))[1:]

    def _contend(self) -> Contender:
        return Contender(self._client, self._path, _MARKER, LockLost, self._data, self._acl)

    def _take_entered(self) -> Contender:
        """What is left now: what this task entered last; else what another did, held before lost."""
        if not self._inside:
            raise RuntimeError(f"nobody is inside the lock {self._path}")
        here = self._client.home.current_task()
        ours = [entry for entry in self._inside if entry[0] is here]
        found = ours[-1] if ours else min(self._inside, key=lambda entry: entry[1].ended.is_set())
        self._inside.remove(found)
        return found[1]
