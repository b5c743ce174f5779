"""One leader among many candidates (ZooKeeper Recipes and Solutions, Leader Election)."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from recipes.contender import Contender, Loss, contend, id_of, in_order
from recipes.core import paths
from recipes.core.errors import LeadershipLost, NoNode, invariant

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.watch import Watch

_MARKER = "lead-"


class Leader(NamedTuple):
    """Who leads, as read from the store."""

    id: str  # chosen anew for each term
    data: bytes
    fence: int
    path: str


class Term:
    """One candidate's time as leader, good inside its block only.

    fence: czxid of our znode; a later leader's is higher, so storage can refuse older ones.
    lost: is_set() and wait(), for code that is shielded from cancellation.
    """

    def __init__(self, contender: Contender) -> None:
        self.fence = contender.czxid
        self.path = contender.path
        self.session_id = contender.session_id
        self.lost: Loss = contender.lost
        self._contender = contender

    def __repr__(self) -> str:
        return f"Term(fence={self.fence}, path={self.path!r}, session_id={self.session_id}, lost={self.lost!r})"

    async def resign(self) -> None:
        """Give leadership up, and return once the server has confirmed it. The block does not lead from here on."""
        await self._contender.resign()


class Election:
    """Leadership over `path`, in order of arrival.

    client: a connected Client; a term lives and dies with its session.
    path: the parent znode; made as a container, with its ancestors, when missing.
    data: what `leader` and `observe` show of us while we lead.
    """

    def __init__(self, client: "Client", path: str, data: bytes = b"") -> None:
        self._client = client
        self._path = path
        self._data = data

    @asynccontextmanager
    async def lead(self) -> AsyncGenerator[Term]:
        """Wait to be elected and run the block as leader; leaving it resigns.

        A short disconnect changes nothing: leadership is kept until the session's local deadline. Raises
        LeadershipLost, with the block cancelled first, when the session is over or our znode was deleted; what every
        call of the client does, as ClientClosed or SessionExpired, when that is so before we stand in line.
        """
        async with contend(self._client, self._path, _MARKER, LeadershipLost, self._data) as contender:
            invariant(contender is not None)
            yield Term(contender)  # type: ignore[arg-type]

    async def run(self, func: Callable[[Term], Awaitable[object]]) -> None:
        """Lead again and again, awaiting `func(term)` in each term, until cancelled or until `func` raises.

        When our znode was deleted, or `func` returns, it joins the line anew; when the session is over, which
        ends the client too, it raises LeadershipLost, or SessionExpired when that is so between two terms.
        """
        while True:
            try:
                async with self.lead() as term:
                    await func(term)
            except LeadershipLost:
                if self._client.session.lost:
                    raise  # a client has one session: connect anew and run again

    async def leader(self) -> Leader | None:
        """Who leads now, None when nobody does."""
        while True:
            first = await self._first()
            if first is None:
                return None
            try:
                return await self._read(first)
            except NoNode:
                continue

    async def observe(self) -> AsyncIterator[Leader | None]:
        """Yield who leads now and then each change, with None for a vacancy; quick changes may be left out."""
        unseen = True
        last: Leader | None = None
        while True:
            leader, watch = await self._leader_and_watch()
            try:
                if unseen or leader != last:
                    unseen, last = False, leader
                    yield leader
                await watch.wait()
            finally:
                watch.cancel()

    async def _leader_and_watch(self) -> tuple[Leader | None, "Watch"]:
        while True:
            first = await self._first()
            # Only the first is watched, so that newcomers at the end of the line wake no observer.
            stat, watch = await self._client.exists_watch(first or self._path)
            try:
                if first is not None and stat is not None:
                    return await self._read(first), watch
                if first is None and stat is None:
                    return None, watch
                watch.cancel()
                if first is None:
                    names, watch = await self._client.children_watch(self._path)
                    if not in_order(names, _MARKER):
                        return None, watch
            except NoNode:
                pass
            except BaseException:
                watch.cancel()
                raise
            watch.cancel()

    async def _first(self) -> str | None:
        try:
            order = in_order(await self._client.children(self._path), _MARKER)
        except NoNode:
            return None
        return paths.join(self._path, order[0]) if order else None

    async def _read(self, path: str) -> Leader:
        data, stat = await self._client.get(path)
        return Leader(id_of(path.rpartition("/")[2], _MARKER), data, stat.czxid, path)
