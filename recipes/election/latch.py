"""Leadership as a property to query, in place of a block: for a program that runs with and without it."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from recipes.core.client.scope import CLOSED, SessionScope
from recipes.core.client.session import ConnectionState, Session
from recipes.core.errors import ClientClosed, LeadershipLost, RecipesError
from recipes.damping import Damping
from recipes.election.candidate import RESIGNED, Candidate
from recipes.election.election import Election, Term, was_lost
from recipes.hold import OnSuspend
from recipes.naming import ElectionNaming

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL

log: logging.Logger = logging.getLogger("recipes.election")


class LeaderLatch:
    """A candidate in the background: `async with LeaderLatch(client, path) as latch`, and `latch.is_leader` inside.

    It stands for election from the beginning of the block (or `start`) to its end (or `stop`). After each term it joins
    the line again by itself, with pauses as in `Election.run`. A loss of leadership cancels nobody: check `is_leader`
    before each action that only a leader may do, or send `term.fence` with the action.

    client, path, data, acl, weight, min_hold, rejoin_after, naming, on_suspend: see Election, with which it shares its
    line. Its background work runs in the client's own task.

    When the session is over, and the client was made with `renew`, it goes on in the next session; `losses` counts
    these. Without `renew`, or after an error of a server, it stops standing for election. It logs the error;
    `wait_leader`, `changes` and the end of a block without an error of its own raise it.

    losses: how many sessions it has outlived.
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
        self._client = client
        self._path = path
        self._election = Election(
            client,
            path,
            data,
            acl=acl,
            weight=weight,
            min_hold=min_hold,
            rejoin_after=rejoin_after,
            naming=naming,
            on_suspend=on_suspend,
        )
        self.losses: int = 0
        self._scope: SessionScope | None = None  # of the background work
        self._session: Session | None = None  # the session of the background work
        self._between = False  # whether it waits for the next session
        self._damping: Damping | None = None
        self._lost = False  # whether the last term was lost
        self._term: Term | None = None
        self._changed: anyio.Event | None = None
        self._stop_listening: Callable[[], object] | None = None
        self._over = False
        self._stopping = False
        self._error: RecipesError | None = None

    def __repr__(self) -> str:
        return f"<LeaderLatch {self._path!r}: {'leads' if self.is_leader else 'does not lead'}>"

    @property
    def is_leader(self) -> bool:
        """Whether we lead. Any thread may ask. By our clock it is False before anybody else may lead."""
        return self.term is not None

    @property
    def term(self) -> Term | None:
        """Our term while we lead, else None, for `fence`, `guarded`, `announce`, `transfer`. Any thread may ask."""
        term = self._term
        return term if term is not None and not term.ended.is_set() else None

    def start(self) -> None:
        """Stand for election, and return at once.

        Raises SessionExpired, ClientClosed; RuntimeError the second time, and in another thread, event loop or process.
        """
        if self._scope is not None:
            raise RuntimeError(f"the latch of {self._path} was started already: make another one")
        self._begin()
        # The client's task may end before it has begun the job, so the end of the client must be heard here, too.
        self._stop_listening = self._client.add_state_listener(self._hear)

    async def stop(self) -> None:
        """Stop standing for election. A term ends as by `Term.resign`: this returns once the server has confirmed it.

        A second call, and a call before `start`, does nothing. Raises RuntimeError in another thread, event loop or
        process, and NoAuth without permission to delete our znode.
        """
        self._client.home.check()
        if self._scope is None or self._over:
            return
        self._stopping = True
        try:
            if self._term is not None:
                await self._term.resign()
        finally:
            self._scope.cancel()
            if self._between:
                self._end()
        while not self._over:
            await self._wait_change()

    async def wait_leader(self) -> Term:
        """Return our term once we lead, at once if we do. For a time limit put `anyio.fail_after` around it.

        Raises the error that ended the latch: SessionExpired, ClientClosed, NoAuth; RuntimeError when it is not started
        or was stopped.
        """
        while True:
            if (term := self.term) is not None:
                return term
            self._check()
            if self._over or self._scope is None:
                raise RuntimeError(f"the latch of {self._path} {'was stopped' if self._scope else 'is not started'}")
            await self._wait_change()

    async def changes(self) -> AsyncIterator[bool]:
        """Yield whether we lead, and then each change; quick changes may be skipped. It ends after `stop`.

        Raises the error that ended the latch: SessionExpired, ClientClosed, NoAuth.
        """
        last: bool | None = None
        while True:
            leads = self.is_leader
            if leads is not last:
                last = leads
                yield leads
                continue
            self._check()
            if self._over:
                return
            await self._wait_change()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client.home.keeps_out(error):
            return
        await self.stop()
        if error is None:
            self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    # In the client's own task.

    def _begin(self) -> None:
        """Stand for election in the client's current session."""
        self._between = False
        self._session = self._client.session
        self._scope = self._client.session_scope()
        self._client.look_after(partial(self._stand, self._scope))

    async def _stand(self, scope: SessionScope) -> None:
        failure: RecipesError | None = None
        try:
            if not self._stopping:
                with scope:
                    await self._lead_again_and_again()
        except RecipesError as error:
            failure = error
        finally:
            lost = scope.ended.lost
            if lost and self._client.renews and not self._stopping:
                self._between = True
                self._hear(self._client.state)  # it may be connected again already
            else:
                if lost or failure is not None:
                    self._fail(self._ending(scope) if lost or failure is None else failure)
                self._end()

    async def _lead_again_and_again(self) -> None:
        if self._damping is None:
            self._damping = self._election._damping()
        else:
            await self._damping.rest(lost=self._lost)
        damping = self._damping
        while not self._stopping:
            candidate = self._election._contend(once=False)
            damping.begin()
            term: Term | None = None
            try:
                await candidate.enter(as_block=False)
                damping.begin()
                term = Term(candidate)
                await self._hold(candidate, term)
            except LeadershipLost:  # while waiting: our znode was deleted, or the session ended, and `scope` with it
                pass
            if not self._stopping:
                await damping.rest(lost=was_lost(term))

    async def _hold(self, candidate: Candidate, term: Term) -> None:
        self._term = term
        self._tell()
        try:
            if self._stopping:
                candidate.ended.set(RESIGNED)
            await candidate.ended.wait()
        finally:
            self._term = None
            self._lost = was_lost(term)
            self._tell()
            with suppress(LeadershipLost):
                await candidate.release(RESIGNED)

    async def _wait_change(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def _tell(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    def _hear(self, state: ConnectionState) -> None:
        if state is ConnectionState.CLOSED or (state is ConnectionState.LOST and not self._client.renews):
            self._fail(self._client.session.ending(path=self._path))
            self._end()
        elif self._between and state is ConnectionState.CONNECTED and self._client.session is not self._session:
            self.losses += 1
            log.info("the latch of %s stands for election again, in session 0x%x", self._path, self._client.session_id)
            self._begin()

    def _end(self) -> None:
        """The latch no longer stands for election."""
        self._over = True
        if self._stop_listening is not None:
            self._stop_listening()
        self._tell()

    def _ending(self, scope: SessionScope) -> RecipesError:
        if scope.ended.why == CLOSED:
            return ClientClosed(f"{CLOSED}: {self._path}")
        return self._client.session.ending(path=self._path)

    def _fail(self, error: RecipesError) -> None:
        if self._error is None and not self._stopping:
            self._error = error
            if not isinstance(error, ClientClosed):
                log.warning("the latch of %s has failed and is no candidate any more: %s", self._path, error)
