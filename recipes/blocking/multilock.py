"""Several locks taken as one, and a lock that its owner can take again, for threads."""

from collections.abc import Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from recipes import lock as of_tasks
from recipes.blocking.block import Block, Blocks
from recipes.blocking.hold import Ended, Grant, documented_by, guarded_by
from recipes.blocking.lockable import Lockable, acquired, tried
from recipes.blocking.portal import Portal, portal_of
from recipes.line import Participant
from recipes.naming import Naming

if TYPE_CHECKING:
    from recipes.blocking.client import Client
    from recipes.blocking.watching import Multi
    from recipes.core.jute.records import ACL


@documented_by(of_tasks.MultiGrant)
class MultiGrant:
    """The hold of a MultiLock, good until `ended` is set, which happens once any of its locks is lost.

    grants: of each lock, by path. ended, lost, why: see Hold.
    """

    def __init__(self, portal: Portal, grant: of_tasks.MultiGrant, grants: dict[str, Grant]) -> None:
        self.grants: dict[str, Grant] = grants
        self.ended: Ended = Ended(portal, grant.ended)
        self._portal = portal
        self._grant = grant

    def __repr__(self) -> str:
        return repr(self._grant)

    @property
    def lost(self) -> bool:
        return self.ended.lost

    @property
    def why(self) -> str:
        return self.ended.why

    @property
    def fences(self) -> dict[str, int]:
        return self._grant.fences

    def release(self) -> None:
        self._portal.call(self._grant.release)

    def guarded(self) -> "AbstractContextManager[Multi]":
        """`with grant.guarded() as multi`: writes that are applied only while all of these are held."""
        return guarded_by(self._portal, self._grant.guarded)


class MultiLock:
    """Several locks of one client at once: all of them or none; see recipes.MultiLock.

    locks: Locks, Semaphores and sides of ReadWriteLocks, of this package, each path once.
    """

    def __init__(self, locks: "Iterable[Lockable[Any]]") -> None:
        self._locks = list(locks)
        self._lock = of_tasks.MultiLock([lock.of_tasks for lock in self._locks])
        self._portal = self._locks[0]._portal
        self._blocks: Blocks[of_tasks.MultiGrant, MultiGrant] = Blocks()

    def __enter__(self) -> MultiGrant:
        return self._blocks.enter(Block(self._portal, lambda: self._lock, self._show))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._blocks.leave(kind, error, trace)

    def acquire(self, *, within: float | None = None) -> MultiGrant:
        """Take all for more than a block; see `Lock.acquire`."""
        return acquired(self._portal, self._lock.acquire, self._show, within)

    def try_acquire(self, *, within: float = 0.0) -> AbstractContextManager[MultiGrant | None]:
        """`with multi.try_acquire(within=5.0) as grant`: all of them, or None when not had in time.

        within: seconds to wait at most for all together, which do not limit the block.
        """
        return tried(self._portal, self._lock.try_acquire(within=within), self._show)

    def _show(self, grant: of_tasks.MultiGrant) -> MultiGrant:
        grants = {lock.path: lock._show(grant.grants[lock.path]) for lock in self._locks}
        return MultiGrant(self._portal, grant, grants)


@documented_by(of_tasks.ReentrantLock)
class ReentrantLock:
    """A Lock that its owner can take again while it holds it; given up when its outermost block ends.

    An owner is a thread, or the token that `by` names. See recipes.ReentrantLock.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        data: bytes = b"",
        *,
        acl: "Sequence[ACL] | None" = None,
        naming: Naming = "native",
    ) -> None:
        self._portal = portal_of(client)
        self._lock = of_tasks.ReentrantLock(client.of_tasks, path, data, acl=acl, naming=naming)
        self._blocks: Blocks[of_tasks.Grant, Grant] = Blocks()

    @property
    def path(self) -> str:
        return self._lock.path

    def __enter__(self) -> Grant:
        return self._blocks.enter(Block(self._portal, lambda: self._lock, self._show))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._blocks.leave(kind, error, trace)

    def by(self, owner: Hashable) -> AbstractContextManager[Grant]:
        """`with lock.by(request_id) as grant`: threads that name the same token are one owner, and share it."""
        return Block(self._portal, lambda: self._lock.by(owner), self._show)

    def try_acquire(
        self, *, within: float = 0.0, owner: Hashable | None = None
    ) -> AbstractContextManager[Grant | None]:
        """`with lock.try_acquire(within=5.0) as grant`: None when not had in time; see `Lock.try_acquire`.

        owner: the token of the owner; without it, this thread.
        """
        return tried(self._portal, self._lock.try_acquire(within=within, owner=owner), self._show)

    def holders(self) -> list[Participant]:
        return self._portal.call(self._lock.holders)

    def waiters(self) -> list[Participant]:
        return self._portal.call(self._lock.waiters)

    def revoke(self) -> list[Participant]:
        return self._portal.call(self._lock.revoke)

    def _show(self, grant: of_tasks.Grant) -> Grant:
        return Grant(self._portal, grant)
