"""The client: one session with an ensemble, on asyncio and on trio."""

import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
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
    ConfigError,
    ConnectionLoss,
    NoNode,
    RecipesError,
    SessionError,
    StoreError,
)
from recipes.core.jute import opcodes as op
from recipes.core.jute.requests import encode_auth

log = logging.getLogger("recipes.client")

Find = Callable[[], Awaitable[str]]

_CLOSING_SECONDS = 2.0
_CONNECTED = (ConnectionState.CONNECTED, ConnectionState.READ_ONLY)


def connect(
    hosts: str | None = None,
    *,
    data_dir: str | Path | None = None,
    private: bool = False,
    session_timeout: float = 15.0,
    auth: Sequence[tuple[str, str]] = (),
    tls: ssl.SSLContext | None = None,
    read_only: bool = False,
) -> "Client":
    """`async with connect("host:port,host:port/chroot") as client:`

    hosts: servers to try, port 2181 unless given, and a path that every path of this client is below. Without it
    RECIPES_HOSTS counts; without that the store in the directory RECIPES_STORE or ~/.local/state/recipes, which all
    processes of this user on this machine share. It is a process of its own, started when there is none, on a Unix
    socket that only this user can reach; what is in it is kept.
    data_dir: the store in this directory instead, made where it is missing.
    private: a server inside this process instead, which excludes nobody else and keeps nothing: for tests and demos.
    session_timeout: seconds without contact after which the servers end the session; they may settle on another.
    auth: (scheme, credentials) pairs, as ("digest", "user:password").
    tls: for servers with a secure client port.
    read_only: the session may begin at a server that has lost its quorum and is set up to serve readers, should that be
    the first to answer. The state is then READ_ONLY, reads show what that server had, and writes and `sync` raise
    NotReadOnly. It goes on with a new id as soon as some server is found that takes writes, in moments where there is
    one. A session that began with a quorum is not served without it.

    Entering it raises ConnectionLoss when no server takes the client in before the session timeout is over, DiskError
    for the directory of a store that cannot be used, ConfigError for a wrong value in the environment.
    """
    return Client(
        hosts,
        data_dir=data_dir,
        private=private,
        session_timeout=session_timeout,
        auth=auth,
        tls=tls,
        read_only=read_only,
    )


class Client(Operations):
    """One session. Made by `connect`; see there. After the session is lost every call raises why, as SessionExpired."""

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
    ) -> None:
        if not 0 < session_timeout < 1e6:
            raise BadArguments("", f"session_timeout={session_timeout}: expected seconds, more than 0")
        if not isinstance(hosts, str | None):
            raise TypeError(f"hosts: expected a string 'host:port,host:port', not {hosts!r}")
        if (hosts is not None) + (data_dir is not None) + bool(private) > 1:
            raise BadArguments("", "hosts, data_dir and private: expected one of them")
        if data_dir is not None:
            hosts = f"store:{os.fspath(data_dir)}"
        self._hosts = hosts
        self._private = private
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
        hosts, where, find = await self._find_servers()
        addresses, self._chroot = parse_hosts(hosts)
        self._link = Link(
            self.session,
            addresses,
            random=self.random,
            clock=self.clock,
            tls=self._tls,
            read_only=self._read_only,
            changed=self._set_state,
            find=find,
        )
        self._link.credentials = self._auth
        self._owner = Owner(self.session, self._link, self._set_state)
        self._closed = False
        self._owner.start()
        try:
            with anyio.fail_after(self._timeout):
                while self._state not in _CONNECTED and not self.session.lost:
                    await self._state_changed.wait()
            if self.session.lost:
                raise self.session.ending(path="")
        except TimeoutError:
            await self._stop()
            raise nobody_answers(where, self._link.failures) from self._link.last_error
        except BaseException:
            await self._stop()
            raise
        return self

    async def _find_servers(self) -> tuple[str, str, Find | None]:
        """Where the servers are, what to call them, and how to find them again where they come and go."""
        hosts = self._hosts
        if hosts is None and not self._private:
            hosts = os.environ.get("RECIPES_HOSTS")
            if hosts == "":  # to go on with another store than was meant would exclude nobody
                raise ConfigError("RECIPES_HOSTS", "''", "HOST:PORT,... or no such variable")
        if hosts is not None and not hosts.startswith("store:"):
            return hosts, hosts, None
        if self._tls is not None:
            raise BadArguments("", "tls: expected hosts with it, since a server on this machine alone has none")
        if self._private:
            from recipes.embedded import embedded_server, find_again

            hosts = await anyio.to_thread.run_sync(self._cleanup.enter_context, embedded_server())
            return hosts, hosts, partial(find_again, hosts)
        from recipes.store.place import named_store
        from recipes.store.start import find

        place = named_store(hosts)
        find_store = partial(find, place)
        return await find_store(), f"the store {place.directory}, whose log is {place.log}", find_store

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
