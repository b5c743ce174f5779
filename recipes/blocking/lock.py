"""Mutual exclusion for threads and processes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING

from recipes import lock as of_tasks
from recipes.blocking.block import Block, Blocks
from recipes.blocking.hold import Grant, documented_by
from recipes.blocking.portal import Errand, portal_of
from recipes.core.errors import RecipesError
from recipes.line import Participant

if TYPE_CHECKING:
    from recipes.blocking.client import Client
    from recipes.core.jute.records import ACL


@documented_by(of_tasks.Lock)
class Lock:
    """`with Lock(client, path) as grant:` mutual exclusion over `path`, granted in order of arrival; see recipes.Lock.

    Threads of one client exclude one another, with one Lock or with several. A thread that holds it cannot take it
    again: RuntimeError. Raises LockLost at the end of the block when the lock was lost; `grant.ended` was set then,
    before anybody else could have it.
    """

    def __init__(self, client: "Client", path: str, data: bytes = b"", *, acl: "Sequence[ACL] | None" = None) -> None:
        self._portal = portal_of(client)
        self._lock = of_tasks.Lock(client.of_tasks, path, data, acl=acl)
        self._blocks: Blocks[of_tasks.Grant, Grant] = Blocks()

    def __enter__(self) -> Grant:
        return self._blocks.enter(Block(self._portal, lambda: self._lock, self._show))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._blocks.leave(kind, error, trace)

    def acquire(self, *, within: float | None = None) -> Grant:
        """Take the lock for more than a block: `grant = lock.acquire()`, later `grant.release()`, in any thread.

        within: seconds to wait for it at most, for ever without; then TimeoutError. Nobody is told when it is lost:
        look at `grant.ended`. Raises what the block does.
        """
        self._portal.check()
        errand = Errand(self._portal, self._lock.acquire, within)
        try:
            return self._show(errand.start().wait())
        except BaseException:
            if (grant := errand.result()) is not None:  # interrupted when it was had already, which nobody hears of
                with suppress(RecipesError):
                    self._show(grant).release()
            raise

    def try_acquire(self, *, within: float = 0.0) -> AbstractContextManager[Grant | None]:
        """Take the lock if that is possible in time: `with lock.try_acquire(within=5.0) as grant`, else None.

        within: seconds to wait for it at most, which do not limit the block. With 0 it is asked for once, and waited
        for the answer only. Raises BadArguments for another number, and what the lock's own block does.
        """
        block = self._lock.try_acquire(within=within)
        return Block(self._portal, lambda: block, lambda grant: None if grant is None else self._show(grant))

    def holders(self) -> list[Participant]:
        return self._portal.call(self._lock.holders)

    def waiters(self) -> list[Participant]:
        return self._portal.call(self._lock.waiters)

    def _show(self, grant: of_tasks.Grant) -> Grant:
        return Grant(self._portal, grant)
