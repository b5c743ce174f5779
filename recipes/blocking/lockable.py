"""What every lock for threads offers: a block, a hold beyond a block, a try, and the lists of holders and waiters."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from types import TracebackType
from typing import Any, Generic, TypeVar

from recipes import lock as of_tasks
from recipes.blocking.block import Block, Blocks
from recipes.blocking.hold import Grant, documented_by
from recipes.blocking.portal import Errand, Portal
from recipes.core.errors import RecipesError
from recipes.line import Participant

G = TypeVar("G", bound=Grant)


@documented_by(of_tasks.Lockable)
class Lockable(Generic[G]):
    """A way to take what is at `path`: a Lock, a Semaphore, a side of a ReadWriteLock. See recipes.Lockable.

    `with it as grant`; `acquire` for more than a block; `try_acquire` for a limited wait. Threads may share it.

    of_tasks: the async lock behind it.
    """

    def __init__(self, portal: Portal, lock: "of_tasks.Lockable[Any]", show: Callable[[Portal, Any], G]) -> None:
        self.path: str = lock.path
        self.of_tasks: of_tasks.Lockable[Any] = lock
        self._portal = portal
        self._shown = show
        self._blocks: Blocks[Any, G] = Blocks()

    def __enter__(self) -> G:
        return self._blocks.enter(Block(self._portal, lambda: self.of_tasks, self._show))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._blocks.leave(kind, error, trace)

    def acquire(self, *, within: float | None = None) -> G:
        """Take it for more than a block: `grant = lock.acquire()`, later `grant.release()`, in any thread.

        within: seconds to wait at most, for ever without; then TimeoutError. A loss raises nothing by itself: look at
        `grant.ended`. Raises what the block does.
        """
        return acquired(self._portal, self.of_tasks.acquire, self._show, within)

    def try_acquire(self, *, within: float = 0.0) -> AbstractContextManager[G | None]:
        """Take it if that is possible in time: `with lock.try_acquire(within=5.0) as grant`, else None.

        within: seconds to wait for the lock at most, which do not limit the block. 0: ask once, and wait only for the
        answer. Raises BadArguments for an invalid number, and what the lock's own block does.
        """
        return tried(self._portal, self.of_tasks.try_acquire(within=within), self._show)

    def holders(self) -> list[Participant]:
        return self._portal.call(self.of_tasks.holders)

    def waiters(self) -> list[Participant]:
        return self._portal.call(self.of_tasks.waiters)

    def revoke(self) -> list[Participant]:
        return self._portal.call(self.of_tasks.revoke)

    def _show(self, grant: Any) -> G:
        return self._shown(self._portal, grant)


T = TypeVar("T")
S = TypeVar("S")


def acquired(portal: Portal, acquire: Callable[[], Any], show: Callable[[Any], S], within: float | None) -> S:
    """Acquire a hold for more than a block. If this thread is interrupted, a hold that was acquired is given up."""
    portal.check()
    errand = Errand(portal, acquire, within)
    try:
        return show(errand.start().wait())
    except BaseException:
        if (grant := errand.result()) is not None:  # acquired before the interruption, and known to nobody
            with suppress(RecipesError):
                portal.call(grant.release)
        raise


def tried(
    portal: Portal, block: AbstractAsyncContextManager[T | None], show: Callable[[T], S]
) -> AbstractContextManager[S | None]:
    """A thread's block around an async try; its value is None if the try was in vain."""
    return Block(portal, lambda: block, lambda grant: None if grant is None else show(grant))
