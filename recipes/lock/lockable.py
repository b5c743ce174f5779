"""What one line of locks offers: take it for a block, for longer, or if it is to be had in time; see who has it."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from recipes.contender import Contender, check_within, read_holders
from recipes.core import paths
from recipes.core.client.scope import Ended
from recipes.core.errors import BadVersion, NoNode, invariant
from recipes.hold import Block
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
    """Which tasks are inside the blocks of one object, and with what."""

    def __init__(self) -> None:
        self._entries: list[tuple[object, T]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, task: object, entered: T) -> None:
        """`task` has entered a block."""
        self._entries.append((task, entered))

    def take(self, task: object, path: str) -> T:
        """What `task` leaves now: what it entered last; else what another one did, held before lost."""
        if not self._entries:
            raise RuntimeError(f"nobody is inside the lock {path}")
        ours = [entry for entry in self._entries if entry[0] is task]
        found = ours[-1] if ours else min(self._entries, key=lambda entry: entry[1].ended.is_set())
        self._entries.remove(found)
        return found[1]


class Lockable(ABC, Generic[G]):
    """A way to take what is at `path`: a Lock, a Semaphore, a side of a ReadWriteLock.

    `async with it as grant`; `acquire` for more than a block; `try_acquire` for a limited wait. Several tasks may use
    one object at the same time; see Lock.
    """

    def __init__(self, client: "Client", path: str, marker: str) -> None:
        self.path: str = paths.check(path)
        self._client: Client = client
        self._marker: str = marker
        self._inside: Inside[Contender] = Inside()

    @property
    def client(self) -> "Client":
        """The client that this lives and dies with."""
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
        """Take it for more than a block: `grant = await lock.acquire()`, later `await grant.release()`.

        Any task may release it. Nobody is cancelled when it is lost: look at `grant.ended`. Raises what the block does.
        """
        return await self._acquire(self._contend())

    def try_acquire(self, *, within: float = 0.0) -> AbstractAsyncContextManager[G | None]:
        """Take it if that is possible in time: `async with lock.try_acquire(within=5.0) as grant`, else None.

        within: seconds to wait for it at most, which do not limit the block. With 0 it is asked for once, and waited
        for the answer only. Raises BadArguments for another number, and what the lock's own block does.
        """
        return Block(self._contend, self._show, check_within(self.path, within))

    async def holders(self) -> list[Participant]:
        """Who holds it. Raises NoAuth, SessionExpired, ClientClosed."""
        return (await self._participants())[0]

    async def waiters(self) -> list[Participant]:
        """Who waits for it, next in line first. Raises NoAuth, SessionExpired, ClientClosed."""
        return (await self._participants())[1]

    async def revoke(self) -> list[Participant]:
        """Ask everybody who holds it now to give it up, and return whom. `grant.revoke_requested` is set there.

        Nobody loses anything by it: to end what a holder has against its will, delete its znode. Asking twice asks
        once. Raises NoAuth, SessionExpired, ClientClosed, and ConnectionLoss, after which it can be called again.
        """
        return [each for holder in await self.holders() if (each := await ask_holder(self._client, holder)) is not None]

    @abstractmethod
    def _contend(self) -> Contender:
        """A place in line, which is still to be taken."""

    @abstractmethod
    def _show(self, contender: Contender) -> G:
        """What its holder is given."""

    async def _acquire(self, contender: Contender) -> G:
        invariant(await contender.enter(as_block=False))
        return self._show(contender)

    async def _participants(self) -> list[list[Participant]]:
        return await read_holders(self._client, self.path, self._marker)


async def ask_holder(client: "Client", holder: Participant) -> Participant | None:
    """Ask one of those that hold to give it up; see Lockable.revoke. None when it has left already."""
    while True:
        try:
            stored, stat = await client.get(holder.path)
            if not holder.revoke_requested:
                await client.set(holder.path, ask_to_leave(stored, holder.path.rpartition("/")[2]), stat.version)
            return holder._replace(revoke_requested=True)
        except BadVersion:
            continue  # its owner, or somebody else that asks
        except NoNode:
            return None
