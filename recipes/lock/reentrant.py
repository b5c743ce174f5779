"""A lock that its owner can take again while it holds it."""

from collections.abc import Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING

import anyio

from recipes.contender import Contender, check_within
from recipes.core.client.home import Home
from recipes.core.client.scope import Ended
from recipes.core.errors import invariant
from recipes.line import Participant
from recipes.lock.grant import Grant
from recipes.lock.lock import Lock
from recipes.lock.lockable import Inside
from recipes.naming import Naming

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL


class Ownership:
    """One owner's place in line, and the number of its blocks."""

    def __init__(self, contender: Contender) -> None:
        self.contender: Contender = contender
        self.count: int = 0
        self.decided: anyio.Event = anyio.Event()  # set once `got` is known
        self.got: bool = False


class _Entry(AbstractAsyncContextManager[Grant | None]):
    """One block. It is cancelled when the lock is lost, whichever task of the owner took it.

    within: seconds to wait at most; without it, no limit.
    """

    def __init__(
        self, owners: dict[Hashable, Ownership], lock: Lock, owner: Hashable, within: float | None = None
    ) -> None:
        self._owners: dict[Hashable, Ownership] = owners
        self._lock: Lock = lock
        self._home: Home = lock.client.home
        self._owner: Hashable = owner
        self._within: float | None = within
        self._ours: Ownership | None = None
        self._scope: anyio.CancelScope  # made on entry: a thread that makes the block has no event loop
        self._task: object = None

    @property
    def ended(self) -> Ended:
        invariant(self._ours is not None)
        return self._ours.contender.ended  # type: ignore[union-attr]

    async def __aenter__(self) -> Grant | None:
        if self._task is not None:
            raise RuntimeError("this block was entered already: make another one")
        self._home.check()
        self._task = self._home.current_task()
        self._scope = anyio.CancelScope()
        if self._owner is None:
            self._owner = self._home.asker()
        ours = await self._take()
        if ours is None:
            return None
        if ours.contender.ended.is_set():
            await self._give_back(ours, None)
            raise ours.contender.refusal()
        self._ours = ours
        self._scope.__enter__()
        ours.contender.ended.listen(self._scope.cancel)
        return self._lock._show(ours.contender)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._ours is None:
            return None
        if self._home.keeps_out(error):
            return False
        ended = self.ended
        ended.ignore(self._scope.cancel)
        lost = ended.lost  # whether we cancelled the block
        passes = error
        if self._home.current_task() is self._task and self._scope.__exit__(kind, error, trace):
            passes = None
        await self._give_back(self._ours, passes)
        if lost and (passes is None or not isinstance(passes, anyio.get_cancelled_exc_class())):
            raise self._ours.contender.refusal() from passes
        return passes is None and error is not None

    async def _take(self) -> Ownership | None:
        until = None if self._within is None else anyio.current_time() + self._within
        while True:
            left = None if until is None else max(0.0, until - anyio.current_time())
            ours = self._owners.get(self._owner)
            if ours is None:
                return await self._take_first(left)
            ours.count += 1
            try:
                with anyio.move_on_after(left):
                    await ours.decided.wait()
            except BaseException as error:
                await self._give_back(ours, error)
                raise
            if ours.got:
                return ours
            ours.count -= 1
            if not ours.decided.is_set():
                return None
            # The task that asked first gave up. The first of the others to run asks again.

    async def _take_first(self, within: float | None) -> Ownership | None:
        ours = self._owners[self._owner] = Ownership(self._lock._contend())
        ours.count = 1
        try:
            ours.got = await ours.contender.enter(within, as_block=False)
        finally:
            ours.decided.set()
            if not ours.got:
                self._forget(ours)
        return ours if ours.got else None

    async def _give_back(self, ours: Ownership, error: BaseException | None) -> None:
        ours.count -= 1
        if ours.count == 0 and ours.got:
            self._forget(ours)
            await ours.contender.exit(error)

    def _forget(self, ours: Ownership) -> None:
        if self._owners.get(self._owner) is ours:
            del self._owners[self._owner]


class ReentrantLock:
    """A Lock that its owner can take again while it holds it. It is released when the owner's last block ends.

    client, path, data, acl, naming: see Lock; other users of the path see a Lock.

    An owner is a task, or the token that is given to `by`. Owners belong to this object: with another ReentrantLock at
    the same path, the same task is another owner. A loss cancels all blocks of the owner, and each raises LockLost.
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
        self._lock: Lock = Lock(client, path, data, acl=acl, naming=naming)
        self._owners: dict[Hashable, Ownership] = {}
        self._inside: Inside[_Entry] = Inside()

    @property
    def path(self) -> str:
        """The parent path of the lock."""
        return self._lock.path

    async def __aenter__(self) -> Grant:
        entry = _Entry(self._owners, self._lock, None)
        grant = await entry.__aenter__()
        invariant(grant is not None)
        self._inside.add(self._lock.client.home.current_task(), entry)
        return grant  # type: ignore[return-value]  # without a limit it is never None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        home = self._lock.client.home
        if home.keeps_out(error):
            return False
        return await self._inside.take(home.current_task(), self.path).__aexit__(kind, error, trace)

    def by(self, owner: Hashable) -> AbstractAsyncContextManager[Grant]:
        """`async with lock.by(request_id) as grant`: tasks that give the same token are one owner, and share it."""
        return _Entry(self._owners, self._lock, owner)  # type: ignore[return-value]  # never None without a limit

    def try_acquire(
        self, *, within: float = 0.0, owner: Hashable | None = None
    ) -> AbstractAsyncContextManager[Grant | None]:
        """`async with lock.try_acquire(within=5.0) as grant`: None if it was not free in time; see `Lock.try_acquire`.

        owner: the token of the owner; without it the owner is this task.
        """
        return _Entry(self._owners, self._lock, owner, check_within(self.path, within))

    async def holders(self) -> list[Participant]:
        """The holder, in a list, or an empty list. Raises NoAuth, SessionExpired, ClientClosed."""
        return await self._lock.holders()

    async def waiters(self) -> list[Participant]:
        """Who waits for it, next in line first. Raises NoAuth, SessionExpired, ClientClosed."""
        return await self._lock.waiters()

    async def revoke(self) -> list[Participant]:
        """Ask the holder to give it up; see `Lock.revoke`."""
        return await self._lock.revoke()
