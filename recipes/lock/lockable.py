"""The methods that all locks have: take one for a block, for longer, or with a time limit; list its holders."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from recipes.contender import Contender, check_within, read_holders
from recipes.core import paths
from recipes.core.client.scope import Ended
from recipes.core.errors import BadVersion, NoNode, invariant
from recipes.hold import Block, OnSuspend, check_on_suspend
from recipes.line import Participant
from recipes.lock.grant import Grant
from recipes.naming import ask_to_leave

if TYPE_CHECKING:
    from recipes.core.client.client import Client

G = TypeVar("G", bound=Grant)


class _Ends(Protocol):
    @property
    def ended(self) -> Ended: ...


T = TypeVar("T", bound=_Ends)


class Inside(Generic[T]):
    """The tasks that are inside the blocks of one object, with what each entered."""

    def __init__(self) -> None:
        self._entries: list[tuple[object, T]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, task: object, entered: T) -> None:
        """`task` has entered a block."""
        self._entries.append((task, entered))

    def take(self, task: object, path: str) -> T:
        """Remove and return what `task` leaves now.

        This is the task's newest entry. If it has none, it is an entry of another task, if possible one that is held.
        """
        if not self._entries:
            raise RuntimeError(f"the lock {path} is left, and no task has entered it")
        if self._entries[-1][0] is task:
            return self._entries.pop()[1]
        ours = [entry for entry in self._entries if entry[0] is task]
        found = ours[-1] if ours else min(self._entries, key=lambda entry: entry[1].ended.is_set())
        self._entries.remove(found)
        return found[1]


class Lockable(ABC, Generic[G]):
    """The interface of a Lock, a Semaphore and each side of a ReadWriteLock.

    `async with lock as grant`; `acquire` for longer than a block; `try_acquire` for a limited wait. Several tasks may
    use one object at the same time; see Lock.
    """

    def __init__(self, client: "Client", path: str, marker: str, on_suspend: OnSuspend = "wait") -> None:
        self.path: str = paths.check(path)
        self._client: Client = client
        self._marker: str = marker
        self._on_suspend: OnSuspend = check_on_suspend(path, on_suspend)
        self._inside: Inside[Contender] = Inside()

    @property
    def client(self) -> "Client":
        """The client whose session the lock depends on."""
        return self._client

    async def __aenter__(self) -> G:
        contender = self._contend()
        invariant(await contender.enter())
        self._inside.add(self._client.home.current_task(), contender)
        return self._show(contender)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._client.home.keeps_out(error):
            return False
        return await self._inside.take(self._client.home.current_task(), self.path).exit(error)

    async def acquire(self) -> G:
        """Take it for longer than a block: `grant = await lock.acquire()`, later `await grant.release()`.

        Any task may release it. A loss cancels nobody: check `grant.ended`. Raises the errors of entering the block.
        """
        return await self._acquire(self._contend())

    def try_acquire(self, *, within: float = 0.0) -> AbstractAsyncContextManager[G | None]:
        """Take it with a time limit: `async with lock.try_acquire(within=5.0) as grant`; None if it was not free.

        within: seconds to wait for the lock at most, 0 or more; the block itself may last longer. With 0 it asks once,
        and waits only for the reply. Raises BadArguments for another number, and the errors of the lock's own block.
        """
        return Block(self._contend, self._show, check_within(self.path, within))

    async def holders(self) -> list[Participant]:
        """Who holds it. Raises NoAuth, SessionExpired, ClientClosed."""
        return (await self._participants())[0]

    async def waiters(self) -> list[Participant]:
        """Who waits for it, next in line first. Raises NoAuth, SessionExpired, ClientClosed."""
        return (await self._participants())[1]

    async def revoke(self) -> list[Participant]:
        """Ask the current holders to give it up, and return them. It sets their `grant.revoke_requested`.

        This only asks: to end a hold against its holder's will, delete its znode. A second request has no effect.
        Raises NoAuth, SessionExpired, ClientClosed, and ConnectionLoss, after which it can be called again.
        """
        return [each for holder in await self.holders() if (each := await ask_holder(self._client, holder)) is not None]

    @abstractmethod
    def _contend(self) -> Contender:
        """Make the Contender for one acquire; it has not joined the line yet."""

    @abstractmethod
    def _show(self, contender: Contender) -> G:
        """Make the grant for the holder."""

    async def _acquire(self, contender: Contender) -> G:
        invariant(await contender.enter(as_block=False))
        return self._show(contender)

    async def _participants(self) -> list[list[Participant]]:
        return await read_holders(self._client, self.path, self._marker)


async def ask_holder(client: "Client", holder: Participant) -> Participant | None:
    """Ask one holder to give it up; see Lockable.revoke. None if it has left already."""
    while True:
        try:
            stored, stat = await client.get(holder.path)
            if not holder.revoke_requested:
                await client.set(holder.path, ask_to_leave(stored, holder.path.rpartition("/")[2]), stat.version)
            return holder._replace(revoke_requested=True)
        except BadVersion:
            continue  # its owner changed the data, or somebody else asked at the same time
        except NoNode:
            return None
