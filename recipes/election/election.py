"""One leader among many candidates (ZooKeeper Recipes and Solutions, Leader Election)."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NamedTuple

from recipes.contender import check_within, read_line
from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.errors import BadArguments, NoNode
from recipes.damping import Damping
from recipes.election.candidate import OUTWEIGHED, RESIGNED, Candidate
from recipes.election.weights import MOST, as_candidate, unmarked
from recipes.hold import Block, Hold, OnSuspend, check_on_suspend
from recipes.line import Participant, id_of, in_order
from recipes.naming import ElectionNaming, line_of, marker_of
from recipes.renewal import Renewal, hold_again

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.watch import Watch
    from recipes.core.jute.records import ACL

log: logging.Logger = logging.getLogger("recipes.election")


class Leader(NamedTuple):
    """The leader, as read from the store."""

    id: str  # chosen anew for each term
    data: bytes
    fence: int
    path: str


class Term(Hold):
    """One candidate's time as leader; see Hold.

    It is also lost when the leader stands down for a heavier candidate; see `min_hold` of Election.
    """

    __slots__ = ()

    _tenure: Candidate

    async def resign(self) -> None:
        """Give up leadership, and return once the server has confirmed it. `ended` is set before the request goes out.

        Any task may call it, more than once. The block goes on without leadership. Raises RuntimeError in another
        thread, event loop or process, and NoAuth without permission to delete.
        """
        await self._tenure.release(RESIGNED)

    async def announce(self, data: bytes) -> None:
        """Replace our data: `leader`, `observe` and `candidates` show `data` once this has returned.

        It never creates our znode again, so it changes nothing after a later leader has begun. After a lost reply it
        reads the znode, and writes again if that is needed. Raises LeadershipLost once the term has ended, RuntimeError
        in another thread, event loop or process, and NoAuth without permission to write.
        """
        await self._tenure.announce(data)

    async def transfer(self, to: Participant | str, *, within: float = 5.0) -> bool:
        """Hand leadership to the candidate `to`: one of `candidates()`, or its id. Returns once we are out of the line.

        `ended` is set first. We stay first in line, so that nobody leads, while the candidates in front of `to` move to
        the end of the line. Then our znode is deleted, and `to` leads, whatever the weights.

        within: seconds to wait at most until `to` is next, 0 or more. Returns True when `to` was next. Returns False
        when `to` has died, or when a candidate in front of it did not move in time; then that candidate leads, so
        leadership always passes on. The same happens if this call is cancelled, or this process dies.

        The block goes on without leadership. Raises BadArguments when there is no such candidate, LeadershipLost once
        the term has ended, and NoAuth without permission to change the znode of `to`, after which the term goes on. A
        candidate in between whose znode we may not change does not move.
        """
        check_within(self.path, within)
        return await self._tenure.hand_over(to.id if isinstance(to, Participant) else to, within)


class Election:
    """Leadership over `path`, in order of arrival.

    client: a connected Client; a term lives and dies with its session.
    path: the parent znode; created as a container, with its ancestors, if it is missing.
    data: shown by `leader`, `observe` and `candidates`; see `Term.announce`.
    acl: who may do what with our znode, and with `path` if it is created here; without it everybody may do everything.
        Ending another's term needs permission to delete at `path`.
    weight: 0 or more. A candidate whose turn comes while a heavier one is in line moves to the end of the line, with a
        new znode. Weights work only among candidates that know of them: the leader is always the first in line.
    min_hold: seconds that a term lasts at least. After that, a leader stands down for a heavier candidate: its block is
        cancelled and raises LeadershipLost. Without it, weights never end a term.
    rejoin_after: seconds that `run` stays out of the line after a term that was lost, so that somebody else can lead if
        we lose it again and again.
    naming: "kazoo", "curator" or "curator-latch" to join the line of kazoo's Election, of Curator's LeaderSelector or
        of its LeaderLatch, so that their candidates and ours exclude one another. All users of a path must use the same
        naming. Other libraries' namings support no weights, `min_hold` or hand-overs.
    on_suspend: "release" to end a term as soon as the connection breaks, even if the session lives on. With "wait" a
        short disconnect does not end a term: it is kept until the session's local deadline.
    losses: how many sessions `run` has outlived.

    Raises BadArguments for numbers out of range, and for arguments that another library's naming does not support.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        data: bytes = b"",
        *,
        acl: "Sequence[ACL] | None" = None,
        weight: int = 0,
        min_hold: float | None = None,
        rejoin_after: float = 0.0,
        naming: ElectionNaming = "native",
        on_suspend: OnSuspend = "wait",
    ) -> None:
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= MOST:
            raise BadArguments(path, f"weight={weight!r}: expected a whole number from 0 to {MOST}")
        for name, seconds in (("min_hold", min_hold), ("rejoin_after", rejoin_after)):
            if seconds is not None and not seconds >= 0:
                raise BadArguments(path, f"{name}={seconds!r}: expected seconds, 0 or more")
        self._marker = marker_of(path, naming, "lead", data)
        self._on_suspend: OnSuspend = check_on_suspend(path, on_suspend)
        if naming != "native" and (weight or min_hold is not None):
            given = f"weight={weight}" if weight else f"min_hold={min_hold}"
            raise BadArguments(path, f"{given}: naming={naming!r} does not support weights")
        self._client = client
        self._path = path
        self._data = data
        self._acl = acl
        self._weight = weight
        self._min_hold = min_hold
        self._rejoin_after = rejoin_after
        self.losses: int = 0

    def lead(self) -> AbstractAsyncContextManager[Term]:
        """`async with election.lead() as term`: wait to be elected and run the block as leader; leaving it resigns.

        If the session is over, the client was closed or our znode was deleted, the block is cancelled, and then
        LeadershipLost is raised. Raises RuntimeError when this task leads or waits here already, with any Election
        object. Before our znode is in line it raises the same errors as Lock.
        """
        return Block(self._contend, Term, None)  # type: ignore[return-value]  # without a limit it is never None

    def try_lead(self, *, within: float = 0.0) -> AbstractAsyncContextManager[Term | None]:
        """`async with election.try_lead(within=5.0) as term`: as `lead`, with None when not elected in time.

        within: seconds to wait at most, 0 or more; the block itself may last longer. With 0 it asks once, and waits
        only for the reply. Raises BadArguments for another number, and the errors of `lead`.
        """
        return Block(self._contend, Term, check_within(self._path, within))

    async def run(self, func: Callable[[Term], Awaitable[object]]) -> None:
        """Lead again and again, awaiting `func(term)` in each term, until cancelled or until `func` raises.

        It joins the line again when our znode was deleted, when we stood down, and when `func` returns. After a term of
        less than a second it pauses first; the pause grows to 2 s if such terms follow one another. When the session is
        over, and the client was made with `renew`, it goes on in the next session; `losses` counts these. Without
        `renew` it raises LeadershipLost, or SessionExpired between two terms. An error of `func` is raised, even if it
        is LeadershipLost of another election.
        """
        renewal = Renewal(self._client, f"the election {self._path}", log)

        def count() -> None:
            self.losses = renewal.losses

        await hold_again(self._client, renewal, self._contend, Term, func, count, self._damping(), was_lost)

    async def candidates(self) -> list[Participant]:
        """Everyone in line, the leader first. Raises NoAuth, SessionExpired, ClientClosed."""
        return [as_candidate(each) for each in await read_line(self._client, self._path, self._marker)]

    async def leader(self) -> Leader | None:
        """The current leader, None when nobody leads. Raises NoAuth, SessionExpired, ClientClosed."""
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
        """Yield the current leader and then each change, None for a vacancy. A leader of a short time may be skipped.

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
            # Watch only the first in line, so that newcomers at the end wake no observer.
            stat, watch = await self._client.exists_watch(first or self._path)
            try:
                if first is not None and stat is not None:
                    return await self._read(first), watch
                if first is None and stat is None:
                    return None, watch
                watch.cancel()
                if first is None:
                    names, watch = await self._client.children_watch(self._path)
                    if not in_order(names, line_of(self._marker)):
                        return None, watch
            except NoNode:
                pass
            except BaseException:
                watch.cancel()
                raise
            watch.cancel()
            await backoff.pause()

    def _contend(self, *, once: bool = True) -> Candidate:
        """Make the Candidate for one term; it has not joined the line yet. once: see Contender."""
        where = self._client, self._path, self._marker
        candidate = Candidate(*where, self._data, self._acl, self._weight, self._min_hold, once=once)
        candidate.on_suspend = self._on_suspend
        return candidate

    def _damping(self) -> Damping:
        """The pauses between terms."""
        return Damping(self._client, self._rejoin_after)

    async def _first(self) -> str | None:
        try:
            order = in_order(await self._client.children(self._path), line_of(self._marker))
        except NoNode:
            return None
        return paths.join(self._path, order[0]) if order else None

    async def _read(self, path: str) -> Leader:
        data, stat = await self._client.get(path)
        return Leader(id_of(path.rpartition("/")[2], self._marker), unmarked(data), stat.czxid, path)


def was_lost(term: Term | None) -> bool:
    """Whether a term was lost in another way than by standing down for a heavier candidate."""
    return term is not None and term.lost and term.why != OUTWEIGHED
