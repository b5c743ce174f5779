"""One leader among many candidates, for threads and processes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from recipes.blocking.block import Block
from recipes.blocking.hold import Term, documented_by
from recipes.blocking.portal import portal_of
from recipes.core.errors import ClientClosed, LeadershipLost, SessionError
from recipes.election import election as of_tasks
from recipes.election import latch
from recipes.election.election import Leader
from recipes.hold import OnSuspend
from recipes.line import Participant
from recipes.naming import ElectionNaming
from recipes.renewal import Renewal

if TYPE_CHECKING:
    from recipes.blocking.client import Client
    from recipes.core.jute.records import ACL


@documented_by(of_tasks.Election)
class Election:
    """Leadership over `path`, in order of arrival; see recipes.Election.

    When leadership is lost, `term.ended` is set before anybody else can lead, and LeadershipLost is raised at the end
    of the block. A thread that leads or waits here gets RuntimeError if it stands again.
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
        self._portal = portal_of(client)
        self._client = client.of_tasks
        self._path = path
        self.losses: int = 0
        self._election = of_tasks.Election(
            client.of_tasks,
            path,
            data,
            acl=acl,
            weight=weight,
            min_hold=min_hold,
            rejoin_after=rejoin_after,
            naming=naming,
            on_suspend=on_suspend,
        )

    def lead(self) -> AbstractContextManager[Term]:
        """`with election.lead() as term`: wait to be elected and run the block as leader; leaving it resigns."""
        return self._lead()

    def try_lead(self, *, within: float = 0.0) -> AbstractContextManager[Term | None]:
        """`with election.try_lead(within=5.0) as term`: as `lead`, with None when not elected in time.

        within: seconds to wait at most, which do not limit the block. 0: ask once, and wait only for the answer.
        Raises BadArguments for an invalid number, and what `lead` does.
        """
        block = self._election.try_lead(within=within)
        return Block(self._portal, lambda: block, lambda term: None if term is None else self._show(term))

    def run(self, func: Callable[[Term], object]) -> None:
        """Lead again and again, calling `func(term)` in this thread in each term, until `func` raises.

        `func` must return soon after `term.ended` is set. We join the line again when `func` returns, when our znode
        was deleted, and when we stood down. After a term of less than a second there is a pause, which grows to 2 s for
        a series of short terms. When the session is over, a client that was made with `renew` goes on with the next
        session, and `losses` counts that. Other clients raise LeadershipLost, or SessionExpired if it happened between
        two terms. To end this from outside, run it in a thread and let `func` raise.
        """
        renewal = Renewal(self._client, f"the election {self._path}", of_tasks.log)
        damping = self._election._damping()
        while True:
            block = self._lead()
            term: Term | None = None
            damping.begin()
            try:
                with block as term:
                    damping.begin()
                    func(term)
            except (LeadershipLost, SessionError) as error:
                if error is not block.raised and (term is not None or isinstance(error, LeadershipLost)):
                    raise
                if renewal.over or error is not block.raised:
                    self._portal.call(partial(renewal.after, error))
                    self.losses = renewal.losses
            lost = term is not None and of_tasks.was_lost(term._hold)
            self._portal.call(partial(damping.rest, lost=lost))

    def candidates(self) -> list[Participant]:
        return self._portal.call(self._election.candidates)

    def leader(self) -> Leader | None:
        return self._portal.call(self._election.leader)

    def observe(self, *, within: float | None = None) -> Iterator[Leader | None]:
        """Yield the leader now and after each change, None for a vacancy; quick changes may be left out.

        within: seconds to wait for the next change at most; then the iteration ends. Raises NoAuth, SessionExpired,
        ClientClosed.
        """
        return self._portal.iterate(self._election.observe(), within)

    def _lead(self) -> Block[of_tasks.Term, Term]:
        return Block(self._portal, self._election.lead, self._show)

    def _show(self, term: of_tasks.Term) -> Term:
        return Term(self._portal, term)


@documented_by(latch.LeaderLatch)
class LeaderLatch:
    """A candidate in the background: `with LeaderLatch(client, path) as latch`, and `latch.is_leader` inside.

    See recipes.LeaderLatch. Any number of threads may use one.
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
        self._portal = portal_of(client)
        self._latch = latch.LeaderLatch(
            client.of_tasks,
            path,
            data,
            acl=acl,
            weight=weight,
            min_hold=min_hold,
            rejoin_after=rejoin_after,
            naming=naming,
            on_suspend=on_suspend,
        )

    def __repr__(self) -> str:
        return repr(self._latch)

    @property
    def is_leader(self) -> bool:
        return self._latch.is_leader

    @property
    def term(self) -> Term | None:
        term = self._latch.term
        return None if term is None else Term(self._portal, term)

    @property
    def losses(self) -> int:
        """How many sessions it has outlived."""
        return self._latch.losses

    def start(self) -> None:
        self._portal.run(self._latch.start)

    def stop(self) -> None:
        self._portal.call(self._latch.stop)

    def wait_leader(self, *, within: float | None = None) -> Term:
        """Return our term once we lead.

        within: seconds to wait at most, for ever without; then TimeoutError. Raises what ended the latch:
        SessionExpired, ClientClosed, NoAuth; RuntimeError if it was not started or was stopped.
        """
        return Term(self._portal, self._portal.call(self._latch.wait_leader, within))

    def changes(self, *, within: float | None = None) -> Iterator[bool]:
        """Yield whether we lead, and then each change; of quick changes only the last is seen. It ends after `stop`.

        within: seconds to wait for the next change at most; then the iteration ends. Raises what ended the latch:
        SessionExpired, ClientClosed, NoAuth.
        """
        return self._portal.iterate(self._latch.changes(), within)

    def __enter__(self) -> Self:
        try:
            self.start()
        except RuntimeError:
            raise  # it was started already, or this thread may not start it
        except BaseException:
            with suppress(ClientClosed):
                self.stop()  # after an interruption it may have started nevertheless
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._portal.in_child() and error is not None:
            return
        self._portal.call(lambda: self._latch.__aexit__(kind, error, trace))
