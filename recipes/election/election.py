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
from recipes.hold import Block, Hold
from recipes.line import Participant, id_of, in_order
from recipes.naming import ElectionNaming, line_of, marker_of
from recipes.renewal import Renewal, hold_again

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.watch import Watch
    from recipes.core.jute.records import ACL

log: logging.Logger = logging.getLogger("recipes.election")


class Leader(NamedTuple):
    """Who leads, as read from the store."""

    id: str  # chosen anew for each term
    data: bytes
    fence: int
    path: str


class Term(Hold):
    """One candidate's time as leader; see Hold.

    It is lost, too, when the leader stands down for a candidate that weighs more; see `min_hold` of Election.
    """

    __slots__ = ()

    _tenure: Candidate

    async def resign(self) -> None:
        """Give leadership up, and return once the server has confirmed it. `ended` is set before the request goes out.

        Any task may do it, more than once. The block goes on, and leads no more. Raises RuntimeError in another thread,
        event loop or process, NoAuth without the right.
        """
        await self._tenure.release(RESIGNED)

    async def announce(self, data: bytes) -> None:
        """Replace what others see of us: `leader`, `observe` and `candidates` show `data` once this has returned.

        It never makes our znode anew. A lost reply is looked into, and it is written again where that is needed; so
        after a later leader has begun nothing is changed by it. Raises LeadershipLost once this has ended, RuntimeError
        in another thread, event loop or process, NoAuth without the right.
        """
        await self._tenure.announce(data)

    async def transfer(self, to: Participant | str, *, within: float = 5.0) -> bool:
        """Hand leadership to the candidate `to`: one of `candidates()`, or its id. Returns once we are out of the line.

        `ended` is set first. We stay first in line, so that nobody leads, while those in front of `to` go to the end of
        the line; then our znode is deleted, and `to` leads, whatever it and others weigh. True when `to` was next then.
        False when it has died meanwhile, or when somebody in front of it was not gone `within` so many seconds: whoever
        was next has its turn, so that leadership is never lost. The same when this is cancelled, or we die.

        The block goes on, and leads no more. Raises BadArguments when there is no such candidate, LeadershipLost once
        this has ended; NoAuth without the right to change others' znodes, after which the term goes on when it was
        refused for that of `to`, and is over, as after `resign`, when it was for one in between.
        """
        check_within(self.path, within)
        return await self._tenure.hand_over(to.id if isinstance(to, Participant) else to, within)


class Election:
    """Leadership over `path`, in order of arrival.

    client: a connected Client; a term lives and dies with its session.
    path: the parent znode; made as a container, with its ancestors, when missing.
    data: what `leader`, `observe` and `candidates` show of us; see `Term.announce`.
    acl: who may do what with our znode, and with `path` where that is made here; everybody everything without it. To
        end another's term takes the right to delete at `path`.
    weight: from 0 on. A candidate whose turn it is goes to the end of the line, with a new znode, while one that weighs
        more is in line. Weights are advice among candidates that know of them: who leads is the first in line.
    min_hold: seconds that a term lasts at least. A leader that is outweighed stands down then: its block is cancelled
        and LeadershipLost raised. Without it a term is never cut short for a weight.
    rejoin_after: seconds that `run` stays out of the line after a term that was lost, so that somebody else can lead
        where we lose it again and again.
    naming: "kazoo", "curator" or "curator-latch" to stand in the line of kazoo's Election, of Curator's LeaderSelector
        or of its LeaderLatch, so that these and ours exclude one another. All users of a path name the same one.
        Weights, `min_hold` and hand-overs have no place in theirs.
    losses: how many sessions `run` has outlived.

    Raises BadArguments for other numbers, and for what another library's naming has no place for.
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
    ) -> None:
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= MOST:
            raise BadArguments(path, f"weight={weight!r}: expected a whole number from 0 to {MOST}")
        for name, seconds in (("min_hold", min_hold), ("rejoin_after", rejoin_after)):
            if seconds is not None and not seconds >= 0:
                raise BadArguments(path, f"{name}={seconds!r}: expected seconds, 0 or more")
        self._marker = marker_of(path, naming, "lead", data)
        if naming != "native" and (weight or min_hold is not None):
            given = f"weight={weight}" if weight else f"min_hold={min_hold}"
            raise BadArguments(path, f"{given}: naming={naming!r} has no place for weights")
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

        When our znode was deleted, or we stood down, or `func` returns, it joins the line anew; after a term of less
        than a second with a pause, which grows to 2 s when that happens again and again. When the session is over it
        goes on with the next one of a client that was made with `renew`; `losses` counts that. Without it raises
        LeadershipLost, or SessionExpired when that is so between two terms. What `func` raises comes out, a
        LeadershipLost of another election, too.
        """
        renewal = Renewal(self._client, f"the election {self._path}", log)

        def count() -> None:
            self.losses = renewal.losses

        await hold_again(self._client, renewal, self._contend, Term, func, count, self._damping(), was_lost)

    async def candidates(self) -> list[Participant]:
        """Who stands in line, the leader first. Raises NoAuth, SessionExpired, ClientClosed."""
        return [as_candidate(each) for each in await read_line(self._client, self._path, self._marker)]

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
        """A place in line, which is still to be taken. once: see Contender."""
        where = self._client, self._path, self._marker
        return Candidate(*where, self._data, self._acl, self._weight, self._min_hold, once=once)

    def _damping(self) -> Damping:
        """The rests between terms."""
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
    """Whether a term was taken from its leader, which did not stand down for somebody else."""
    return term is not None and term.lost and term.why != OUTWEIGHED
