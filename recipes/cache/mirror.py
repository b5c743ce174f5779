"""Keeps a Copy equal to the store: makes the reads that it asks for, passes events to it, starts again on reconnect.

A Mirror has no task. Replies and events are handled in the client's own task. Only after a failed read a job of the
client waits before the read is repeated. Between two sessions of a client that renews, a Mirror rests: what was read
stays, and the next session begins with reading everything.
"""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import anyio

from recipes.cache.changes import Changes
from recipes.cache.copy import Ask, Copy
from recipes.core import paths
from recipes.core.client.backoff import pauses
from recipes.core.client.call import Watcher
from recipes.core.client.scope import CLOSED
from recipes.core.client.session import OVER, ConnectionState
from recipes.core.client.view import Node
from recipes.core.errors import (
    ClientClosed,
    ConnectionLoss,
    NoAuth,
    NoNode,
    RecipesError,
    SessionError,
    ThrottledOp,
    Unimplemented,
)
from recipes.core.jute import opcodes as op

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client

_MOST_BATCHES, _MOST_READS = 4, 64  # requests under way at a time, of many reads and of one
_FIRST_BATCH, _MOST_IN_BATCH = 16, 50  # reads in one request: together never more than a reply may be long
_BATCH_BYTES = 256 * 1024  # intended size of a reply
log: logging.Logger = logging.getLogger("recipes.cache")

_TRIED_AGAIN = (ConnectionLoss, ThrottledOp)


class Mirror(Watcher):
    """The machinery of a `Cache`; see there. recursive: use one watch for everything, if the server supports it."""

    def __init__(self, client: "Client", path: str, max_depth: float, recursive: bool) -> None:
        self.path: str = paths.check(path)
        self.error: RecipesError | None = None
        self.stale_since: float | None = None
        self.copy: Copy = Copy(self.path, max_depth, not recursive, self._told)
        self.was_whole: bool = False
        self.losses: int = 0
        self._client = client  # for what outlives a session
        self._bound = client  # for requests, watches and the end of the session
        self._started = False
        self._resting = False
        self._watched = True  # False while the one watch of another session is not set yet
        self._max_depth = max_depth
        self._recursive = recursive
        self._watching = client.watching(self)
        self._readers: WeakSet[Changes] = WeakSet()
        self._calls: dict[Call, list[Ask]] = {}
        self._batch = _FIRST_BATCH
        self._failing = False  # a read failed, and a job waits before it is tried again
        self._pauses: Iterator[float] | None = None
        self._next: anyio.Event | None = None
        self._over: anyio.Event | None = None
        self._open = False
        self._stop_listening: Callable[[], object] = lambda: None

    async def open(self) -> None:
        """Return once everything was read."""
        if self._over is not None:
            raise RuntimeError("this cache was entered already: make another one")
        self._client.session_scope()  # raises, as every call does, if the client cannot be used here or any more
        self._over = anyio.Event()
        self._open = True
        try:
            self._stop_listening = self._client.add_state_listener(self._heard_state)
            self._begin_session()
            if self._recursive:
                try:
                    await self._watching.start_recursive(self.path).result()
                except Unimplemented:
                    self._recursive = False
                    self.copy = Copy(self.path, self._max_depth, True, self._told)
                except SessionError:
                    if not self._resting:
                        raise
            self._started = True
            if not self._resting:
                self._begin_round()
            while not self.was_whole:
                await self.news()
        except BaseException:
            self.close()
            raise

    def _begin_session(self) -> None:
        self._bound = self._client.bound
        self._watching = self._bound.watching(self)
        self._bound.session.scopes[self] = self

    def close(self) -> None:
        """Stop, and remove the watches on the server. Returns at once."""
        if self._open:
            self._stop()
            self._watching.release(self._forget())

    async def news(self) -> None:
        """Return after the next reading or change of state. Raises the error that ended the cache."""
        if self.error is not None:
            raise self.error
        if not self._open:
            raise RuntimeError("a cache is kept current inside its `async with` block only")
        if self._next is None:
            self._next = anyio.Event()
        await self._next.wait()

    def changes(self, initial: bool, but: str = "") -> Changes:
        """A stream of changes from now on, without those of the path `but`."""
        if not self._open and self.error is None:
            raise RuntimeError("changes are told inside the `async with` block of a cache only")
        reader = Changes(self.copy.nodes, self.news, initial, but)
        self._readers.add(reader)
        return reader

    def fire(self, kind: int, path: bytes) -> None:
        """Called by the session: a watch fired."""
        # The end of the session and a new connection are reported in other ways.
        if kind > op.EVENT_NONE and self._open and self.copy.round:
            self.copy.event(kind, self._watching.shown(path))
            self._read()

    def end(self, why: str) -> None:
        """Called by the session when it is over, or about to be."""
        if why == OVER and self._open and self._client.renews:
            self._rest()
            return
        if self.error is None:
            self.error = self._why_over(why == CLOSED and not self._bound.session.lost)
        self._stop()
        self._forget()  # at the server the watches go with the session

    def _why_over(self, closed: bool) -> RecipesError:
        if closed:
            return ClientClosed(f"the client is closed: {self.path}")
        return self._client.session.ending(path=self.path)

    def _rest(self) -> None:
        """Rest until the client has another session."""
        self._resting, self._failing = True, False
        self.losses += 1
        self._lapse()
        unanswered = [ask for asks in self._calls.values() for ask in asks]
        self._forget()
        for ask in unanswered:
            self.copy.failed(ask)
        self._wake()

    def _resume(self) -> None:
        self._resting, self._watched = False, not self._recursive
        self._begin_session()
        if self._recursive:
            self._watch_anew()
        else:
            self._begin_round()

    def _watch_anew(self) -> None:
        try:
            call = self._watching.start_recursive(self.path)
        except RecipesError as error:
            self._fail(error)
            return
        self._calls[call] = []
        call.heard = self._heard_watch

    def _heard_watch(self, call: "Call") -> None:
        if self._calls.pop(call, None) is None or not self._open:
            return
        if call.error is None:
            self._watched = True
            log.info("the session was lost: the cache of %s reads everything again in the next one", self.path)
            self._begin_round()
        elif isinstance(call.error, _TRIED_AGAIN):
            self._try_again([])
        else:
            self._fail(call.error)

    async def wait_left(self) -> None:
        """Return at once: the session need not wait for this cache to end."""

    def _heard_state(self, state: ConnectionState) -> None:
        if self._resting:
            if state in (ConnectionState.CONNECTED, ConnectionState.READ_ONLY):
                self._resume()
            elif state is ConnectionState.CLOSED or not self._client.renews:
                self.error = self._why_over(state is ConnectionState.CLOSED)
                self._stop()
        elif not self._started:
            return
        elif state in (ConnectionState.CONNECTED, ConnectionState.READ_ONLY):
            self._begin_round()
        elif state is ConnectionState.SUSPENDED:
            self._lapse()

    def _begin_round(self) -> None:
        self._lapse()
        self.copy.begin_round()
        self._read()

    def _lapse(self) -> None:
        """Note that changes may be missed from now on."""
        if self.was_whole and self.stale_since is None:
            self.stale_since = self._client.clock()
            self._wake()

    def _read(self) -> None:
        """Send the reads that are due, up to the limit of requests under way."""
        while self._open and not (self._failing or self._resting) and self.copy.has_work:
            if len(self._calls) >= (_MOST_BATCHES if self._recursive else _MOST_READS):
                return
            asks = self.copy.take(self._batch if self._recursive else 1)
            try:
                call = self._start(asks)
            except RecipesError as error:  # the session ended in the meantime
                self._fail(error)
                return
            self._calls[call] = asks
            call.heard = self._heard

    def _start(self, asks: list[Ask]) -> "Call":
        if self._recursive:
            return self._bound.start_multi_read((ask.kind, ask.path) for ask in asks)
        start = self._watching.start_get if asks[0].kind == "get" else self._watching.start_children
        return start(asks[0].path)

    def _heard(self, call: "Call") -> None:
        asks = self._calls.pop(call, None)
        if asks is None or not self._open:
            return
        error = call.error
        if isinstance(error, _TRIED_AGAIN):
            self._try_again(asks)
        elif error is None:
            self._pauses = None
            self._take_in(asks, call.value if self._recursive else [call.value])
        elif isinstance(error, NoNode | NoAuth) and not self._recursive:
            self._pauses = None
            self._take_in(asks, [error])
        else:
            self._fail(error)
        if self._open:
            self._read()
            self._settle()
            self._wake()

    def _take_in(self, asks: list[Ask], found: list[Any]) -> None:
        size = 0
        for ask, value in zip(asks, found, strict=True):
            if isinstance(value, NoNode):
                self.copy.missing(ask)
                if ask.path == self.path and not self._recursive:
                    self._await_creation()
            elif isinstance(value, NoAuth) and ask.path != self.path:
                self.copy.refuse(ask, value)
            elif isinstance(value, RecipesError):
                self._fail(value)
                return
            elif ask.kind == "get":
                size += len(value[0])
                self.copy.got(ask, Node(*value))
            elif self._recursive:
                size += 16 * len(value)
                self.copy.got(ask, value)
            else:
                self.copy.got(ask, *value)
        if 2 * size > _BATCH_BYTES:
            self._batch = max(1, min(self._batch, len(asks) * _BATCH_BYTES // size))
        elif len(asks) == self._batch:  # only a full batch shows that larger ones are safe
            self._batch = min(2 * self._batch, _MOST_IN_BATCH)

    def _await_creation(self) -> None:
        """Watch the root's creation. The creation of any other znode shows at its parent."""
        if [] in self._calls.values():  # such a request is under way
            return
        try:
            call = self._watching.start_exists(self.path)
        except RecipesError as error:
            self._fail(error)
            return
        self._calls[call] = []
        call.heard = self._heard_existence

    def _heard_existence(self, call: "Call") -> None:
        if self._calls.pop(call, None) is None or not self._open:
            return
        if call.error is None or isinstance(call.error, _TRIED_AGAIN):
            self.copy.event(op.EVENT_CREATED, self.path)  # created in the meantime
            if call.error is not None:
                self._try_again([])
            self._read()
        elif not isinstance(call.error, NoNode):
            self._fail(call.error)
        self._wake()

    def _try_again(self, asks: list[Ask]) -> None:
        for ask in asks:
            self.copy.failed(ask)
        self._lapse()
        self._batch = max(1, self._batch // 4)  # the reply may have been too long
        if not self._failing:
            self._failing = True
            self._bound.look_after(self._pause)

    async def _pause(self) -> None:
        if self._pauses is None:
            self._pauses = pauses(self._client.random, shortest=0.02, longest=2.0, least=0.5)
        with anyio.move_on_after(next(self._pauses)):
            if self._over is not None:
                await self._over.wait()
        self._failing = False
        if self._open and not self._watched:
            self._watch_anew()
        else:
            self._read()

    def _settle(self) -> None:
        """If everything was read in this round, note it."""
        if not self.copy.is_whole or (self.was_whole and self.stale_since is None):
            return
        if self._client.state is ConnectionState.CONNECTED:
            self.stale_since = None
        elif self.stale_since is None:  # read-only: the server may have been behind for any time
            self.stale_since = self._client.clock()
        self.was_whole = True

    def _told(self, path: str, old: Node | None, new: Node | None) -> None:
        for reader in self._readers:
            reader.note(path, old, new)
        if new is None and not self._recursive:
            self._watching.forget(path)

    def _fail(self, error: RecipesError) -> None:
        if self.error is None and self._open:
            self.error = error
            self.close()

    def _forget(self) -> list[str]:
        """Ignore all later replies and events; return the paths at which the server may have a watch."""
        places = {self.path}
        if not self._recursive:
            places.update(self.copy.nodes, *([ask.path for ask in asks] for asks in self._calls.values()))
        for call in self._calls:
            call.abandoned = True
        self._calls.clear()
        for path in places:
            self._watching.forget(path)
        return sorted(places)

    def _stop(self) -> None:
        self._open = False
        self._lapse()
        if self._over is not None:
            self._over.set()
        self._stop_listening()
        scopes = self._bound.session.scopes
        if scopes.get(self) is self:
            del scopes[self]
        self._wake()

    def _wake(self) -> None:
        waiting, self._next = self._next, None
        if waiting is not None:
            waiting.set()
