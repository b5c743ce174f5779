"""The client: one session with an ensemble, or several in succession, on asyncio and on trio."""

import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import anyio

from recipes.core.client.arguments import SMALL_BYTES, check_arguments, check_credentials
from recipes.core.client.atomic import Transaction, run_atomically
from recipes.core.client.backoff import pauses
from recipes.core.client.call import Call
from recipes.core.client.connector import Connector
from recipes.core.client.home import Home
from recipes.core.client.leftovers import delete_surely
from recipes.core.client.namespace import Namespace
from recipes.core.client.operations import Operations
from recipes.core.client.reasons import nobody_answers
from recipes.core.client.scope import CLOSED, SessionScope
from recipes.core.client.servers import Servers, find_servers
from recipes.core.client.session import CONNECTED, ConnectionState, Session
from recipes.core.client.state_log import log_state
from recipes.core.client.task import ClientTask
from recipes.core.errors import (
    ClientClosed,
    RecipesError,
)
from recipes.core.jute import opcodes as op
from recipes.core.jute.frames import MAX_FRAME_BYTES
from recipes.core.jute.requests import encode_auth

R = TypeVar("R")
# How long closing waits for blocks to end and for the server to confirm: the first limit normally, the second when
# closing is cancelled. The short wait lets the next worker take over at once after a time limit ended this one.
_CLOSING_SECONDS = 2.0
_HURRIED_SECONDS = 0.04


class Client(Operations):
    """One session, or with `renew` several in succession. Made by `connect`; see there.

    Without `renew`, every call after the loss of the session raises SessionExpired with the reason.

    losses: how many sessions it has outlived. session: the current one.

    It logs on `recipes.client` at INFO, once each, when it connects, is suspended, loses its session and closes.
    """

    def __init__(
        self,
        hosts: str | None,
        *,
        data_dir: str | Path | None = None,
        private: bool = False,
        session_timeout: float,
        auth: Sequence[tuple[str, str]] = (),
        tls: ssl.SSLContext | None = None,
        read_only: bool = False,
        renew: bool = False,
        max_request_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        hosts = check_arguments(hosts, data_dir, private, session_timeout, tls, max_request_bytes)
        self._hosts: str | None = hosts
        self._private: bool = private
        self._timeout: float = session_timeout
        self._auth: list[tuple[bytes, bytes]] = [check_credentials(pair, max_request_bytes) for pair in auth]
        self._tls: ssl.SSLContext | None = tls
        self._read_only: bool = read_only
        self._renew: bool = renew
        self.losses: int = 0
        self._cleanup: ExitStack = ExitStack()
        self._entered: bool = False
        self._closed: bool = True
        self._closing: bool = False
        self.home: Home = Home()
        self._state: ConnectionState = ConnectionState.CONNECTING
        self._state_changed: anyio.Event = anyio.Event()
        self._state_listeners: dict[Callable[[ConnectionState], None], None] = {}
        self._connector: Connector
        self._task: ClientTask
        self._tasks: list[ClientTask] = []  # tasks of lost sessions may still have jobs to finish
        self._servers: Servers
        self._pauses: Iterator[float]  # before each next session; begins anew after a session that got a reply
        self.random: Random = Random()
        self.process_name: str = f"{socket.gethostname()}:{os.getpid()}"  # how we are shown to others
        self.clock: Callable[[], float] = _clock()
        self.session: Session = Session(session_timeout)
        self._namespace: Namespace = Namespace(self.session, self._submit, max_request_bytes)
        self._unmeasured_bytes: int = max_request_bytes - SMALL_BYTES

    def __repr__(self) -> str:
        if not self._entered:
            return f"<Client not connected: hosts={self._hosts!r}>"
        where = f" to {self.server}" if self.server else ""
        of = f", session 0x{self.session.id:x}, timeout {self.session.timeout:g} s" if self.session.id else ""
        return f"<Client {self._state.value}{where}{of}>"

    def __enter__(self) -> NoReturn:
        raise TypeError("use `async with connect(...) as client:`, in a coroutine; `with` alone cannot wait")

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a Client is entered once: make another one with connect()")
        self._entered = True
        self.home = Home()
        self._servers = servers = await find_servers(
            self._hosts, private=self._private, tls=self._tls, cleanup=self._cleanup
        )
        self._namespace.chroot = servers.chroot
        self._closed = False
        self._begin_session(None)
        try:
            with anyio.fail_after(self._timeout):
                while self._state not in CONNECTED and not self.session.lost:
                    await self._state_changed.wait()
            if self.session.lost:
                raise self.session.ending(path="")
        except TimeoutError:
            await self._stop()
            raise nobody_answers(servers.where, self._connector.failures) from self._connector.last_error
        except BaseException:
            await self._stop()
            raise
        return self

    def _begin_session(self, pause: float | None) -> None:
        session, servers = self.session, self._servers

        def changed(state: ConnectionState) -> None:
            if self.session is session:
                self._set_state(state)

        self._connector = Connector(
            session,
            servers.addresses,
            random=self.random,
            clock=self.clock,
            tls=self._tls,
            read_only=self._read_only,
            changed=changed,
            where=servers.where,
            find=servers.find,
            pause=pause,
        )
        self._connector.credentials = self._auth
        session.renew = self._next_session if self._renew else None
        self._task = ClientTask(session, self._connector, changed)
        self._tasks = [*(each for each in self._tasks if not each.ended.is_set()), self._task]
        self._task.start()

    def _next_session(self) -> None:
        """Called at the end of a session, in the task that noticed it: begin another, and return at once."""
        lost = self.session
        if self._closing or self._closed:
            return
        self.losses += 1
        self._set_state(ConnectionState.LOST)
        if self.losses == 1 or lost.answered + lost.pongs > 0:
            self._pauses = pauses(self.random, shortest=0.04, longest=10.0, least=0.25)
        self.session = self._namespace.session = Session(self._timeout)
        self.session.last_zxid = lost.last_zxid  # so no server with older data accepts us
        self._begin_session(next(self._pauses))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.home.keeps_out(error):
            return
        if self.session.lost:  # there is no session to close
            await self._stop()
            return
        self._closing = True
        scopes = list(self.session.scopes.values())
        for scope in scopes:
            scope.end(CLOSED)  # before the store can grant anything to the next holder

        async def settle() -> None:
            for scope in scopes:
                await scope.wait_left()
            await self._task.wait_jobs()

        until = anyio.current_time() + _CLOSING_SECONDS
        try:
            await self._await_hurried(settle, until)
        finally:
            try:
                if self.session.id:
                    await self._close_session(until)
            finally:
                await self._stop()

    async def _close_session(self, until: float) -> None:
        answered = anyio.Event()
        with suppress(RecipesError):  # the session is over, so there is nothing to close
            self._submit(Call(op.CLOSE_SESSION, b"", heard=lambda call: answered.set()))
            await self._await_hurried(answered.wait, until)

    async def _await_hurried(self, wait: Callable[[], Awaitable[object]], until: float) -> None:
        """Await `wait()` until `until`, or, if cancelled, for _HURRIED_SECONDS only. `wait` may be called twice."""
        with anyio.move_on_after(_HURRIED_SECONDS, shield=True) as moment:
            await wait()
        if moment.cancelled_caught:
            with anyio.move_on_after(until - anyio.current_time()):
                await wait()

    async def _stop(self) -> None:
        with anyio.CancelScope(shield=True):
            self._closed = True
            for task in self._tasks:
                await task.stop()
            self.session.end(_closed, final=True)
            self._set_state(ConnectionState.CLOSED)
            if self._private:  # otherwise there is nothing to clean up, and a thread costs more than closing does
                await anyio.to_thread.run_sync(self._cleanup.close)

    def _submit(self, call: Call) -> Call:
        """Put a request on its way without waiting; `await call.result()` gives its outcome."""
        if self._closed or self.session.lost:
            raise self._unusable(call.path)
        if len(call.body) > self._unmeasured_bytes:
            self._namespace.check_size(call)
        self.home.check()
        session = self.session
        if not session.id:
            call.sent_at = self.clock()  # since when it waits for a session
        session.unsent.append(call)
        self._connector.wake()
        return call

    @property
    def state(self) -> ConnectionState:
        """The state of the client now."""
        return self._state

    @property
    def server(self) -> str | None:
        """The connected server as "host:port", with its address if that differs; None without a connection."""
        return self._connector.server if self._entered and not self._closed else None

    @property
    def session_id(self) -> int:
        """The session's id, as servers log it in hexadecimal; 0 before there is one."""
        return self.session.id

    @property
    def session_timeout(self) -> float:
        """Seconds without contact after which the session ends: as requested, then as negotiated."""
        return self.session.timeout

    @property
    def renews(self) -> bool:
        """Whether a new session follows a lost one: made with `renew`, not closing, and the loss is not final."""
        return self._renew and not (self._closing or self._closed or self.session.final)

    async def outlive(self, session_id: int) -> int:
        """Wait until this client is connected in another session than `session_id`, and return that session's id.

        For code that goes on after a loss: pass `client.session_id` at first, and then the last result each time.
        With 0 any session will do. It waits without limit while no server that takes writes can be reached. If no
        session follows, it raises what ended the last one: SessionExpired (a client that does not renew), AuthFailed,
        ClientClosed.
        """
        if self._entered:
            self.home.check()
        while self.session.id == session_id or self._state is not ConnectionState.CONNECTED:
            if self._closed or (self.session.lost and not self.renews):
                raise self._unusable()
            await self._state_changed.wait()
        return self.session.id

    @property
    def bound(self) -> "Client":
        """This client, bound to its current session: every request is made in that session, or not at all.

        For everything that depends on one session, such as a lock that is held. After the end of that session its calls
        raise what ended it, even if this client goes on with another one. Without `renew` it is this client itself.
        """
        if not (self._renew and self._entered):
            return self
        found = self.session.shared.get(Client)
        if not isinstance(found, Client):
            from recipes.core.client.bound import BoundClient  # of use to few

            found = self.session.shared[Client] = BoundClient(self)
        return found

    async def states(self) -> AsyncIterator[ConnectionState]:
        """The state now and each later one, until CLOSED, or LOST if no other session follows.

        A state that lasts only for a moment may be skipped.
        """
        if self._entered:
            self.home.check()
        while True:
            state = self._state
            yield state
            if state is ConnectionState.CLOSED or (state is ConnectionState.LOST and not self.renews):
                return
            while self._state is state:
                await self._state_changed.wait()

    def add_state_listener(self, listener: Callable[[ConnectionState], None]) -> Callable[[], None]:
        """Call `listener` with each new state. Returns a function that stops these calls.

        `listener` runs inside the client, before any reply of a new connection, and must neither wait nor raise.
        """
        self._state_listeners[listener] = None
        return lambda: self._state_listeners.pop(listener, None)

    def session_scope(self, key: object = None) -> SessionScope:
        """A block that is cancelled when the session is lost or this client closes.

        key: its key in `session.scopes`, which must be unique; the scope itself without it. Raises SessionExpired,
        AuthFailed or ClientClosed when the session is over or the client closed, and RuntimeError in another thread,
        event loop or process.
        """
        if self._closed or self._closing or self.session.lost:
            raise self._unusable()
        self.home.check()
        return SessionScope(self.session, self.home, self.clock, key)

    async def add_auth(self, scheme: str, credentials: str) -> None:
        """Authenticate this client, on this connection and on later ones.

        Raises AuthFailed when the server refuses. The session is over then, because ZooKeeper's servers end it.
        """
        pair = check_credentials((scheme, credentials), self._namespace.limit_bytes)
        await self._submit(Call(op.AUTH, encode_auth(*pair))).result()
        self._connector.credentials.append(pair)

    async def atomically(self, fn: Callable[[Transaction], Awaitable[R]], *, attempts: int = 30) -> R:
        """Run `await fn(transaction)`, make its writes as if at one moment, and return what it returned.

        fn: reads and writes through the Transaction that it is given. It runs again if others have changed something
        that it had read, so it must have no side effects. If it raises, nothing is written, and the error goes on.
        attempts: how many times `fn` runs at most, 1 or more, with pauses that grow to half a second.

        Everything that `fn` read still holds when its writes are made: the same versions of znodes, the same missing
        znodes, the same lists of children. An exception of `fn`, and a result without writes, also come from reads that
        held at one moment. One change goes unnoticed: a znode that was deleted and created again with the same version.

        Raises UpdateConflict when all attempts failed: nothing is written. After ConnectionLoss with `maybe_applied`
        or SessionExpired nobody knows whether the writes were made, all or none; to find out later, let `fn` create a
        znode with a unique name. Raises the server's errors for the writes, such as NodeExists, and NotReadOnly.
        """
        begin = partial(Transaction, self._namespace, self.random)
        return await run_atomically(begin, fn, self.sync, self.random, attempts)

    def delete_later(self, path: str, *, prefix: bool = False) -> None:
        """Delete a znode in the background, retrying until it is gone or the session is over. Returns at once.

        prefix: delete all children of the parent whose paths begin with `path`.
        """

        if not self.session.lost and not self._closed:
            self.home.check()
            self._task.hand_over(partial(delete_surely, self, path, prefix=prefix))

    def look_after(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run `job` in the client's own task, until it ends or the client does. Returns at once.

        `job` must not raise. For clean-up that no block waits for any more, and for watching what a block holds.
        """
        if not self.session.lost and not self._closed:
            self._task.hand_over(job)

    def _unusable(self, path: str = "") -> RecipesError:
        if not self._entered:
            return ClientClosed("the client is not connected: use it inside `async with connect() as client`")
        closed = self._closed or (self._closing and not self.session.lost)
        return _closed(path=path) if closed else self.session.ending(path=path)

    def _set_state(self, state: ConnectionState) -> None:
        if state is not self._state:
            self._state = state
            changed, self._state_changed = self._state_changed, anyio.Event()
            changed.set()
            log_state(state, self.session, self._connector, self._timeout)
            for listener in list(self._state_listeners):
                listener(state)


def _clock() -> Callable[[], float]:
    """A clock in seconds that also counts while the machine sleeps, because the servers go on counting then.

    anyio's clock will not do: a callback of the event loop, where no task is running, cannot read it.
    """
    boottime = getattr(time, "CLOCK_BOOTTIME", None)  # Linux
    return time.monotonic if boottime is None else partial(time.clock_gettime, boottime)


def _closed(*, path: str) -> ClientClosed:
    return ClientClosed(f"the client is closed{': ' + path if path else ''}")
