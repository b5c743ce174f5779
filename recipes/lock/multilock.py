"""Several locks as one: all of them or none."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio

from recipes.contender import Contender, check_within
from recipes.core.client.scope import Ended
from recipes.core.errors import BadArguments, invariant
from recipes.hold import CANCELLED, RELEASED, Guarded
from recipes.lock.grant import Grant
from recipes.lock.lockable import Inside, Lockable

if TYPE_CHECKING:
    from recipes.core.client.multi import Multi

Exit = Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], Awaitable[bool | None]]


class MultiGrant:
    """The grant of a MultiLock, valid until `ended` is set, which happens as soon as any of its locks is lost.

    grants: one for each lock, by its path. ended, lost, why: see Hold.
    """

    def __init__(self, contenders: Sequence[Contender], grants: dict[str, Grant]) -> None:
        self.grants: dict[str, Grant] = grants
        self.ended: Ended = contenders[0].ended
        self._contenders: Sequence[Contender] = contenders

    def __repr__(self) -> str:
        return f"MultiGrant({', '.join(self.grants)}, {f'ended: {self.why}' if self.ended.is_set() else 'held'})"

    @property
    def lost(self) -> bool:
        """Whether it ended against our will."""
        return self.ended.lost

    @property
    def why(self) -> str:
        """Why it ended, in one phrase; "" while it is held."""
        return self.ended.why

    @property
    def fences(self) -> dict[str, int]:
        """The fence of each lock, by its path."""
        return {path: grant.fence for path, grant in self.grants.items()}

    async def release(self) -> None:
        """Give up all of them; see `Grant.release`. Errors are raised after all have been given up."""
        _end(self._contenders, RELEASED)
        async with AsyncExitStack() as stack:
            for contender in self._contenders:
                stack.push_async_callback(contender.release, RELEASED)

    def guarded(self) -> "AbstractAsyncContextManager[Multi]":
        """Writes that are applied only while all of these are held; see `Hold.guarded`."""
        return Guarded(*self._contenders)


class _Taking(AbstractAsyncContextManager[MultiGrant | None]):
    """One block of a MultiLock. within: seconds to wait at most for all locks together; None for no limit."""

    def __init__(self, locks: Sequence[Lockable[Any]], within: float | None) -> None:
        self._locks: Sequence[Lockable[Any]] = locks
        self._within: float | None = within
        self._stack: AsyncExitStack = AsyncExitStack()
        self._contenders: list[Contender] = []

    @property
    def ended(self) -> Ended:
        return self._contenders[0].ended

    async def take(self, *, as_block: bool) -> MultiGrant | None:
        """Take all locks, in the order of their paths, or none."""
        until = None if self._within is None else anyio.current_time() + self._within
        contenders, grants = [], {}
        async with AsyncExitStack() as stack:
            for lock in self._locks:
                contender = lock._contend()
                within = None if until is None else max(0.0, until - anyio.current_time())
                if not await contender.enter(within, as_block=as_block):
                    return None
                stack.push_async_exit(_exit(contender))
                contenders.append(contender)
                grants[lock.path] = lock._show(contender)
            self._stack = stack.pop_all()
        self._contenders = contenders
        for contender in contenders:
            contender.ended.listen(_loss(contenders, contender))
        return MultiGrant(contenders, grants)

    async def __aenter__(self) -> MultiGrant | None:
        if self._contenders:
            raise RuntimeError("this block was entered already: make another one")
        return await self.take(as_block=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if not self._contenders:
            return None
        if self._locks[0].client.home.keeps_out(error):
            return False
        _end(self._contenders, CANCELLED if isinstance(error, anyio.get_cancelled_exc_class()) else RELEASED)
        return await self._stack.__aexit__(kind, error, trace)


class MultiLock:
    """Several locks at once: all of them or none.

    locks: Locks, Semaphores (one permit of each) and sides of ReadWriteLocks, all of one client, each path once. They
    are taken in the order of their paths, so that two MultiLocks never deadlock. A single Lock that is taken inside a
    MultiLock's block can still cause a deadlock.

    If one lock cannot be taken, or the wait is cancelled, the locks already taken are released before the error is
    raised. The loss of one lock ends all: the block is cancelled and raises LockLost. Raises BadArguments for an empty
    list, a repeated path, or locks of several clients; otherwise the errors of the locks.
    """

    def __init__(self, locks: Iterable[Lockable[Any]]) -> None:
        self._locks: list[Lockable[Any]] = sorted(locks, key=lambda lock: lock.path)
        if not self._locks:
            raise BadArguments("", "locks: expected one or more")
        for before, lock in pairwise(self._locks):
            if lock.path == before.path:
                raise BadArguments(lock.path, "locks: expected each path once, since a task would wait for itself")
            if lock.client is not before.client:
                raise BadArguments(lock.path, "locks: expected locks of one client, since they end with one session")
        self._inside: Inside[_Taking] = Inside()

    async def __aenter__(self) -> MultiGrant:
        taking = _Taking(self._locks, None)
        grant = await taking.take(as_block=True)
        invariant(grant is not None)
        self._inside.add(self._task, taking)
        return grant  # type: ignore[return-value]  # without a limit it is never None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._locks[0].client.home.keeps_out(error):
            return False
        return await self._inside.take(self._task, self._locks[0].path).__aexit__(kind, error, trace)

    async def acquire(self) -> MultiGrant:
        """Take all for longer than a block; see `Lock.acquire`."""
        grant = await _Taking(self._locks, None).take(as_block=False)
        invariant(grant is not None)
        return grant  # type: ignore[return-value]  # without a limit it is never None

    def try_acquire(self, *, within: float = 0.0) -> AbstractAsyncContextManager[MultiGrant | None]:
        """`async with multi.try_acquire(within=5.0) as grant`: all of them, or None if they were not free in time.

        within: seconds to wait at most for all together, 0 or more; the block itself may last longer.
        """
        return _Taking(self._locks, check_within(self._locks[0].path, within))

    @property
    def _task(self) -> object:
        return self._locks[0].client.home.current_task()


def _exit(contender: Contender) -> Exit:
    async def leave(
        kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await contender.exit(error)

    return leave


def _loss(contenders: Sequence[Contender], lost: Contender) -> Callable[[], None]:
    """A function that ends the other holds when `lost` is lost."""

    def end() -> None:
        for contender in contenders:
            if contender is not lost:
                contender.ended.set(f"{lost.path} was lost with it: {lost.ended.why}", lost=True)

    return end


def _end(contenders: Sequence[Contender], why: str) -> None:
    """End all holds, before the first of them is released to others."""
    for contender in contenders:
        if not contender.ended.is_set():
            contender.ended.set(why)
