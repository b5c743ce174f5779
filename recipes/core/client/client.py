"""The client: one session with an ensemble, on asyncio and on trio."""

import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from random import Random
from types import TracebackType
from typing import Self

import anyio

from recipes.core import paths
from recipes.core.client.link import Link, nobody_answers, parse_hosts
from recipes.core.client.operations import Operations
from recipes.core.client.owner import Owner
from recipes.core.client.scope import SessionScope
from recipes.core.client.session import Call, ConnectionState, Session
from recipes.core.errors import (
    BadArguments,
    ClientClosed,
    ConnectionLoss,
    NoNode,
    RecipesError,
    SessionError,
    StoreError,
)
from recipes.core.jute import opcodes as op
from recipes.core.jute.requests import encode_auth

log = logging.getLogger("recipes.client")

_CLOSING_SECONDS = 2.0
_CONNECTED = (ConnectionState.CONNECTED, ConnectionState.READ_ONLY)


def connect(
    hosts: str | None = None,
    *,
    session_timeout: float = 15.0,
    auth: Sequence[tuple[str, str]] = (),
    tls: ssl.SSLContext | None = None,
    read_only: bool = False,
) -> "Client":
    """`async with connect("host:port,host:port/chroot") as client:`

    hosts: servers to try, port 2181 unless given, and a path that every path of this client is below. Without it
    RECIPES_HOSTS counts; without that a server is started inside this process, with a warning.
    session_timeout: seconds without contact after which the servers end the session; they may settle on another.
    auth: (scheme, credentials) pairs, as ("digest", "user:password").
    tls: for servers with a secure client port.
    read_only: the session may begin at a server that has lost its quorum and is set up to serve readers, should that be
    the first to answer. The state is then READ_ONLY, reads show what that server had, and writes and `sync` raise
    NotReadOnly. It goes on with a new id as soon as some server is found that takes writes, in moments where there is
    one. A session that began with a quorum is not served without it.
    """
    return Client(hosts, session_timeout=session_timeout, auth=auth, tls=tls, read_only=read_only)


class Client(Operations):
    """One session. Made by `connect`; see there. After the session is lost every call raises why, as SessionExpired."""

    def __init__(
        self,
        hosts: str | None,
        *,
        session_timeout: float,
        auth: Sequence[tuple[str, str]] = (),
        tls: ssl.SSLContext | None = None,
        read_only: bool = False,
    ) -> None:
        if not 0 < session_timeout < 1e6:
            raise BadArguments("", f"session_timeout={session_timeout}: expected seconds, more than 0")
        if not isinstance(hosts, str | None):
            raise TypeError(f"hosts: expected a string 'host:port,host:port', not {hosts!r}")
        self._hosts = hosts
        self._timeout = session_timeout
        self._auth = [_credentials(pair) for pair in auth]
        self._tls = tls
        self._read_only = read_only
        self._cleanup = ExitStack()
        self._entered = False
        self._closed = True
        self._state = ConnectionState.CONNECTING
        self._state_changed = anyio.Event()
        self.random = Random()
        # Not anyio's, which cannot be asked in a callback of the loop, where no task is running.
        self.clock: Callable[[], float] = time.monotonic
        self.session = Session(session_timeout)

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a Client is one session and is entered once: make another one with connect()")
        self._entered = True
        hosts = os.environ.get("RECIPES_HOSTS") if self._hosts is None else self._hosts
        if hosts is None:
            from recipes.embedded import embedded_server

            hosts = await anyio.to_thread.run_sync(self._cleanup.enter_context, embedded_server())
        addresses, self._chroot = parse_hosts(hosts)
        self._link = Link(
            self.session,
            addresses,
            random=self.random,
            clock=self.clock,
            tls=self._tls,
            read_only=self._read_only,
            changed=self._set_state,
        )
        self._link.credentials = self._auth
        self._owner = Owner(self.session, self._link, self._set_state)
        self._closed = False
        self._owner.start()
        try:
            with anyio.fail_after(self._timeout):
                while self._state not in _CONNECTED and not self.session.lost:
                    await self._state_changed.wait()
        except TimeoutError:
            await self._stop()
            raise nobody_answers(hosts, self._link.failures) from self._link.last_error
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            if not self.session.lost:
                with anyio.move_on_after(_CLOSING_SECONDS):
                    await self._owner.wait_jobs()
                    try:
                        await self.submit(Call(op.CLOSE_SESSION, b"")).result()
                    except RecipesError:
                        pass
            await self._stop()

    async def _stop(self) -> None:
        with anyio.CancelScope(shield=True):
            self._closed = True
            await self._owner.stop()
            self.session.end(_closed)
            self._set_state(ConnectionState.CLOSED)
            await anyio.to_thread.run_sync(self._cleanup.close)

    def submit(self, call: Call) -> Call:
        """Put a request on its way without waiting; `await call.result()` gives its outcome."""
        if self._closed or self.session.lost:
            raise self._unusable(call.path)
        self.session.unsent.append(call)
        self._link.wake()
        return call

    @property
    def state(self) -> ConnectionState:
        """Where the client stands now."""
        return self._state

    async def states(self) -> AsyncIterator[ConnectionState]:
        """The state now and each one after it, until LOST or CLOSED; of quick changes only the last is seen."""
        while True:
            state = self._state
            yield state
            if state in (ConnectionState.LOST, ConnectionState.CLOSED):
                return
            while self._state is state:
                await self._state_changed.wait()

    def session_scope(self) -> SessionScope:
        """A block that is cancelled when the session is lost. Raises what every call does when it is over already."""
        if self._closed or self.session.lost:
            raise self._unusable()
        return SessionScope(self.session)

    async def add_auth(self, scheme: str, credentials: str) -> None:
        """Show who this client is, on this connection and on those to come. Raises AuthFailed."""
        pair = scheme.encode(), credentials.encode()
        await self.submit(Call(op.AUTH, encode_auth(*pair))).result()
        self._link.credentials.append(pair)

    def delete_later(self, path: str, *, prefix: bool = False) -> None:
        """Delete a znode whatever happens: until it is gone or the session is over. Returns at once.

        prefix: `path` is only how the names begin: every child of its parent that begins so goes.
        """

        async def delete() -> None:
            while not self.session.lost:
                try:
                    for each in await self._beginning(path) if prefix else [path]:
                        with suppress(NoNode):
                            await self.delete(each)
                except ConnectionLoss:
                    continue
                except (NoNode, SessionError):
                    pass
                except StoreError as error:
                    if not self.session.lost:
                        log.warning("a znode stays behind: %s", error)
                return

        if not self.session.lost and not self._closed:
            self._owner.hand_over(delete)

    def look_after(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run `job` in the client's own task, until it ends or the client does. Returns at once.

        It must not raise: for clean-up that no block waits for any more, and for watching over what a block holds.
        """
        if not self.session.lost and not self._closed:
            self._owner.hand_over(job)

    async def _beginning(self, prefix: str) -> list[str]:
        parent, _, start = prefix.rpartition("/")
        parent = parent or "/"
        # The server we are on now may not have seen yet what the one before carried out.
        await self.sync(parent)
        return [paths.join(parent, name) for name in await self.children(parent) if name.startswith(start)]

    def _unusable(self, path: str = "") -> RecipesError:
        if not self._entered:
            return ClientClosed("the client is not connected: use it inside `async with connect() as client`")
        return _closed(path=path) if self._closed else self.session.ending(path=path)

    def _set_state(self, state: ConnectionState) -> None:
        if state is not self._state:
            self._state = state
            changed, self._state_changed = self._state_changed, anyio.Event()
            changed.set()


def _closed(*, path: str) -> ClientClosed:
    return ClientClosed(f"the client is closed{': ' + path if path else ''}")


def _credentials(pair: tuple[str, str]) -> tuple[bytes, bytes]:
    if isinstance(pair, str) or len(pair) != 2:
        raise TypeError('auth: expected pairs, as [("digest", "user:password")]')
    return pair[0].encode(), pair[1].encode()
