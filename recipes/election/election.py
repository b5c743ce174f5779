"""One leader among many candidates (ZooKeeper Recipes and Solutions, Leader Election)."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NamedTuple

from recipes.contender import Contender, check_within, read_line
from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.errors import LeadershipLost, NoNode
from recipes.hold import Block, Guarded, Hold
from recipes.line import Participant, id_of, in_order
from recipes.renewal import SHORT_SECONDS, Renewal, hold_again

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi
    from recipes.core.client.watch import Watch
    from recipes.core.jute.records import ACL

log: logging.Logger = logging.getLogger("recipes.election")

_MARKER = "lead-"
SHORT_TERM_SECONDS: float = SHORT_SECONDS


class Leader(NamedTuple):
    """Who leads, as read from the store."""

    id: str  # chosen anew for each term
    data: bytes
    fence: int
    path: str


class Term(Hold):
    """One candidate's time as leader; see Hold."""

    __slots__ = ()

    async def resign(self) -> None:
        """Give leadership up, and return once the server has confirmed it. `ended` is set before the request goes out.

        Any task may do it, more than once. The block goes on, and leads no more. Raises RuntimeError in another thread,
        event loop or process, NoAuth without the right.
        """
        await self._tenure.release("resigned")

    def guarded(self) -> "AbstractAsyncContextManager[Multi]":
        """`async with term.guarded() as multi: multi.set(...)`: writes that are applied only while this is held.

        As `client.multi()`, sent when the block ends well, with a check of our znode in it: the store applies all of it
        or nothing. Once this has ended it raises the error of a loss, LeadershipLost, and nothing was applied; beside
        that what `client.multi()` raises, a ConnectionLoss too, after which nobody knows whether it was applied.
        """
        return Guarded(self._tenure)


class Election:
    """Leadership over `path`, in order of arrival.

    client: a connected Client; a term lives and dies with its session.
    path: the parent znode; made as a container, with its ancestors, when missing.
    data: what `leader`, `observe` and `candidates` show of us.
    acl: who may do what with our znode, and with `path` where that is made here; everybody everything without it. To
        end another's term takes the right to delete at `path`.
    losses: how many sessions `run` has outlived.
    """

    def __init__(self, client: "Client", path: str, data: bytes = b"", *, acl: "Sequence[ACL] | None" = None) -> None:
        self._client = client
        self._path = path
        self._data = data
        self._acl = acl
        self.losses: int = 0

    def lead(self) -> AbstractAsyncContextManager[Term]:
        """`async with election.lead() as term`: wait to be elected and run the block as leader; leaving it resigns.

        A short disconnect changes nothing: leadership is kept until the session's local deadline. Raises
        LeadershipLost, with the block cancelled first, when the session is over, the client was closed or our znode
        was deleted; RuntimeError when this task leads or waits here already, with whatever object; before we stand in
        line what every call of the client does: see Lock.
        """
        return Block(self._contend, Term, None)  # type: ignore[return-value]  # without a limit it is never None

    def try_lead(self, *, within: float = 0.0) -> AbstractAsyncContextManager[Term | None]:
        """`async with election.try_lead(within=5.0) as term`: as `lead`, with None when not elected in time.

        within: seconds to wait at most, which do not limit the block. With 0 it is asked for once, and waited for the
        answer only. Raises BadArguments for another number, and what `lead` does.
        """
        return Block(self._contend, Term, check_within(self._path, within))

    async def run(self, func: Callable[[Term], Awaitable[object]]) -> None:
        """Lead again and again, awaiting `func(term)` in each term, until cancelled or until `func` raises.

        When our znode was deleted, or `func` returns, it joins the line anew; after a term of less than a second with
        a pause, which grows to 2 s when that happens again and again. When the session is over it goes on with the next
        one of a client that was made with `renew`; `losses` counts that. Without it raises LeadershipLost, or
        SessionExpired when that is so between two terms. What `func` raises comes out, a LeadershipLost of another
        election, too.
        """
        renewal = Renewal(self._client, f"the election {self._path}", log)

        def count() -> None:
            self.losses = renewal.losses

        await hold_again(self._client, renewal, self._contend, Term, func, count)

    async def candidates(self) -> list[Participant]:
        """Who stands in line, the leader first. Raises NoAuth, SessionExpired, ClientClosed."""
        return await read_line(self._client, self._path, _MARKER)

    async def leader(self) -> Leader | None:
        """Who leads now, None when nobody does. Raises NoAuth, SessionExpired, ClientClosed."""
        backoff = Backoff(self._client.random)
        while True:
            first = await self._first()
            if first is None:
                return None
            try:
                return await self._read(first)
            except NoNode:
                await backoff.pause()

    async def observe(self) -> AsyncIterator[Leader | None]:
        """Yield who leads now and then each change, with None for a vacancy; quick changes may be left out.

        Raises NoAuth, SessionExpired, ClientClosed.
        """
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
        backoff = Backoff(self._client.random)
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
            await backoff.pause()

    def _contend(self) -> Contender:
        return Contender(self._client, self._path, _MARKER, LeadershipLost, self._data, self._acl)

    async def _first(self) -> str | None:
        try:
            order = in_order(await self._client.children(self._path), _MARKER)
        except NoNode:
            return None
        return paths.join(self._path, order[0]) if order else None

    async def _read(self, path: str) -> Leader:
        data, stat = await self._client.get(path)
        return Leader(id_of(path.rpartition("/")[2], _MARKER), data, stat.czxid, path)
