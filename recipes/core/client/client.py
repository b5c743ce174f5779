"""The client: one session with an ensemble, every operation a method.

It runs on asyncio and on trio. One task of its own keeps the connection; it belongs to the client and not to the
caller's scope, so that a client can be opened in one task and closed in another, as test fixtures do.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack
from random import Random, SystemRandom
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel

from recipes.core import paths
from recipes.core.client.link import Link, nobody_answers, parse_hosts
from recipes.core.client.session import Call, ConnectionState, Session
from recipes.core.client.transaction import Transaction
from recipes.core.client.watch import Watch, WatchStream
from recipes.core.errors import (
    BadArguments,
    ClientClosed,
    ConnectionLoss,
    NoAuth,
    NodeExists,
    NoNode,
    SessionError,
    SessionExpired,
    StoreError,
)
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import text, un_int
from recipes.core.jute.records import ACL, Id, Stat, decode_stat

log = logging.getLogger("recipes.client")

OPEN_ACL = (ACL(op.ALL, Id("world", "anyone")),)
_CLOSING_SECONDS = 2.0


def connect(
    hosts: str | None = None,
    *,
    session_timeout: float = 15.0,
    auth: Sequence[tuple[str, str]] = (),
    tls: ssl.SSLContext | None = None,
) -> "Client":
    """`async with connect("host:port,host:port/chroot") as client:`

    hosts: servers to try, port 2181 unless given, and a path that every path of this client is below. Without it
    RECIPES_HOSTS counts; without that a server is started inside this process, with a warning.
    session_timeout: seconds without contact after which the servers end the session; they may settle on another.
    auth: (scheme, credentials) pairs, as ("digest", "user:password").
    tls: for servers with a secure client port.
    """
    return Client(hosts, session_timeout=session_timeout, auth=auth, tls=tls)


class SessionScope:
    """`with client.session_scope() as session:` a block that is cancelled when the session is lost.

    The cancellation ends at the edge of the block: look at `session.lost` behind it. It must be left in the task
    that entered it.
    """

    def __init__(self, client: "Client") -> None:
        self._session = client.session
        self._scope = anyio.CancelScope()

    def __enter__(self) -> Session:
        self._scope.__enter__()
        self._session.scopes[self._scope] = None
        if self._session.lost:
            self._scope.cancel()
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._session.scopes.pop(self._scope, None)
        return self._scope.__exit__(kind, error, trace)


class Client:
    """One session. Made by `connect`; see there. After the session is lost every call raises SessionExpired."""

    def __init__(
        self,
        hosts: str | None,
        *,
        session_timeout: float,
        auth: Sequence[tuple[str, str]] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not 0 < session_timeout < 1e6:
            raise BadArguments("", f"session_timeout={session_timeout}: expected seconds, more than 0")
        self._hosts = hosts
        self._timeout = session_timeout
        self._auth = [(scheme.encode(), credentials.encode()) for scheme, credentials in auth]
        self._tls = tls
        self._cleanup = ExitStack()
        self._chroot = ""
        self._closed = True
        self._state = ConnectionState.CONNECTING
        self._state_changed = anyio.Event()
        self._cleaning = 0  # deletes handed to the owner task and not yet ended
        self._cleaned = anyio.Event()
        self.random: Random = SystemRandom()
        self.session = Session(session_timeout)

    async def __aenter__(self) -> Self:
        hosts = self._hosts or os.environ.get("RECIPES_HOSTS")
        if hosts is None:
            from recipes.embedded import embedded_server

            hosts = await anyio.to_thread.run_sync(self._cleanup.enter_context, embedded_server())
        try:
            addresses, self._chroot = parse_hosts(hosts)
        except ValueError as error:
            raise BadArguments("", str(error)) from None
        self._link = Link(self.session, addresses, random=self.random, tls=self._tls, changed=self._set_state)
        self._link.credentials = self._auth
        self._closed = False
        self._ended = anyio.Event()
        self._scope = anyio.CancelScope()
        self._jobs: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._job_added = anyio.Event()
        self._start()
        try:
            with anyio.fail_after(self._timeout):
                while self._state is not ConnectionState.CONNECTED and not self._ended.is_set():
                    await self._state_changed.wait()
        except TimeoutError:
            await self._stop()
            raise nobody_answers(hosts, self._link.last_error) from self._link.last_error
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
                    while self._cleaning:
                        await self._cleaned.wait()
                    try:
                        await self.submit(Call(op.CLOSE_SESSION, b"")).result()
                    except SessionError:
                        pass
            await self._stop()

    async def _stop(self) -> None:
        with anyio.CancelScope(shield=True):
            self._closed = True
            self._scope.cancel()
            await self._ended.wait()
            self.session.end(ClientClosed("the client is closed"))
            self._set_state(ConnectionState.CLOSED)
            await anyio.to_thread.run_sync(self._cleanup.close)

    # The owner task.

    def _start(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            import trio

            trio.lowlevel.spawn_system_task(self._own)
        else:
            self._task = loop.create_task(self._own(), name="recipes-client")

    async def _own(self) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._link.run)
                    group.start_soon(self._clean_up, group)
                    # Hang up as soon as the session is lost here: pings would keep its ephemerals on the server.
                    await self._link.watch_deadline()
                    group.cancel_scope.cancel()
        except Exception:
            log.exception("the client's task ended")
            self.session.end(SessionExpired("the client failed"))
        finally:
            if self.session.lost:
                self._set_state(ConnectionState.LOST)
            self._ended.set()
            self._state_changed.set()

    async def _clean_up(self, group: anyio.abc.TaskGroup) -> None:
        while True:
            while self._jobs:
                group.start_soon(self._jobs.pop())
            self._job_added = anyio.Event()
            await self._job_added.wait()

    def delete_later(self, path: str, *, prefix: bool = False) -> None:
        """Delete a znode whatever happens: until it is gone or the session is over. Returns at once.

        prefix: `path` is only how the names begin: every child of its parent that begins so goes.
        """

        async def delete() -> None:
            try:
                while not self.session.lost:
                    try:
                        for each in await self._beginning(path) if prefix else [path]:
                            await self.delete(each)
                    except NoNode:
                        return
                    except ConnectionLoss:
                        continue
                    return
            except SessionError:
                return
            except StoreError as error:
                log.warning("a znode stays behind: %s", error)
            finally:
                self._cleaning -= 1
                if not self._cleaning:
                    self._cleaned.set()

        if not self.session.lost and not self._closed:
            if not self._cleaning:
                self._cleaned = anyio.Event()
            self._cleaning += 1
            self._jobs.append(delete)
            self._job_added.set()

    async def _beginning(self, prefix: str) -> list[str]:
        parent, _, start = prefix.rpartition("/")
        return [
            paths.join(parent or "/", name) for name in await self.children(parent or "/") if name.startswith(start)
        ]

    # State.

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
        """A block that is cancelled when the session is lost."""
        return SessionScope(self)

    def _set_state(self, state: ConnectionState) -> None:
        if state is not self._state:
            self._state = state
            changed, self._state_changed = self._state_changed, anyio.Event()
            changed.set()

    # Requests.

    def submit(self, call: Call) -> Call:
        """Put a request on its way without waiting; `await call.result()` gives its outcome."""
        if self._closed:
            raise ClientClosed("the client is closed")
        if self.session.lost:
            raise SessionExpired(path=call.path)
        self.session.unsent.append(call)
        self._link.wake()
        return call

    def full(self, path: str) -> bytes:
        """The server's path of this client's `path`. Raises BadArguments when it is not a path."""
        paths.check(path)
        if not self._chroot:
            return path.encode()
        return (self._chroot if path == "/" else self._chroot + path).encode()

    def shown(self, full: bytes) -> str:
        """This client's path of a server's."""
        path = text(full)
        if self._chroot and path.startswith(self._chroot):
            return path[len(self._chroot) :] or "/"
        return path

    async def create(self, path: str, data: bytes = b"", **how: Any) -> str:
        """Create a znode and return its path; see `create2` for the arguments."""
        return (await self.create2(path, data, **how))[0]

    async def create2(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        ttl: float | None = None,
        acl: Sequence[ACL] | None = None,
        make_parents: bool = False,
    ) -> tuple[str, Stat]:
        """Create a znode and return its path and Stat.

        ephemeral: it goes with the session. sequential: the server puts a number of ten digits behind the path.
        container: it goes some time after its last child. ttl: seconds without change or children after which it
        goes. acl: who may do what; everybody everything without it. make_parents: create what is missing above.

        Raises NodeExists, NoNode (the parent), NoAuth, InvalidACL, NoChildrenForEphemerals, ConnectionLoss.
        """
        kind, body = self.create_body(path, data, ephemeral, sequential, container, ttl, acl)
        call = Call(kind, body, lambda reply, at: rq.decode_path_stat(reply, at)[:2], path=path)
        try:
            created, stat = await self.submit(call).result()
        except NoNode:
            if not make_parents:
                raise
            await self.ensure_path(path.rpartition("/")[0] or "/")
            return await self.create2(
                path, data, ephemeral=ephemeral, sequential=sequential, container=container, ttl=ttl, acl=acl
            )
        return self.shown(created), stat

    def create_body(
        self,
        path: str,
        data: bytes,
        ephemeral: bool,
        sequential: bool,
        container: bool,
        ttl: float | None,
        acl: Sequence[ACL] | None,
    ) -> tuple[int, bytes]:
        """Opcode and body of a create, for those inside the client."""
        if (container and (ephemeral or sequential or ttl is not None)) or (ephemeral and ttl is not None):
            raise BadArguments(path, "a container is neither ephemeral, sequential nor with a ttl, nor is an ephemeral")
        # The server validates what it stores; with a number to come the path may end in a slash.
        full = self.full(path + "0")[:-1] if sequential else self.full(path)
        entries = OPEN_ACL if acl is None else acl
        if container:
            return op.CREATE_CONTAINER, rq.encode_create(full, data, entries, op.CONTAINER)
        if ttl is not None:
            flags = op.PERSISTENT_SEQUENTIAL_WITH_TTL if sequential else op.PERSISTENT_WITH_TTL
            return op.CREATE_TTL, rq.encode_create(full, data, entries, flags, int(ttl * 1000))
        return op.CREATE2, rq.encode_create(full, data, entries, ephemeral + 2 * sequential)

    async def ensure_path(self, path: str) -> None:
        """Create the znode and everything above it, as far as it is missing."""
        parts = paths.check(path).split("/")
        for end in range(2, len(parts) + 1) if path != "/" else ():
            above = "/".join(parts[:end])
            try:
                await self.create(above)
            except NodeExists:
                continue
            except NoAuth:  # said before a server looks whether it exists
                if await self.exists(above) is None:
                    raise

    async def get(self, path: str) -> tuple[bytes, Stat]:
        """Data and Stat. Raises NoNode, NoAuth."""
        data, stat = await self.submit(self._read(op.GET_DATA, path, _data_stat)).result()
        return data, stat

    async def set(self, path: str, data: bytes, version: int = -1) -> Stat:
        """Replace the data, if the znode has this `version` (-1: any). Raises NoNode, BadVersion, NoAuth."""
        call = Call(op.SET_DATA, rq.encode_set_data(self.full(path), data, version), _stat, path=path)
        stat: Stat = await self.submit(call).result()
        return stat

    async def delete(self, path: str, version: int = -1) -> None:
        """Delete, if the znode has this `version` (-1: any). Raises NoNode, BadVersion, NotEmpty, NoAuth."""
        await self.submit(Call(op.DELETE, rq.encode_path_version(self.full(path), version), path=path)).result()

    async def exists(self, path: str) -> Stat | None:
        """Stat, or None when there is no such znode."""
        try:
            stat: Stat = await self.submit(self._read(op.EXISTS, path, _stat)).result()
        except NoNode:
            return None
        return stat

    async def children(self, path: str) -> list[str]:
        """Names of the children, sorted. Raises NoNode, NoAuth."""
        names: list[str] = await self.submit(self._read(op.GET_CHILDREN, path, _names)).result()
        return names

    async def exists_watch(self, path: str) -> tuple[Stat | None, Watch]:
        """`exists`, and a watch on the next creation, deletion or change of data."""
        watch = Watch(self, path)
        try:
            stat: Stat = await self.submit(self._read(op.EXISTS, path, _stat, ("data", watch))).result()
        except NoNode:
            return None, watch
        return stat, watch

    async def get_watch(self, path: str) -> tuple[bytes, Stat, Watch]:
        """`get`, and a watch on the next deletion or change of data."""
        watch = Watch(self, path)
        data, stat = await self.submit(self._read(op.GET_DATA, path, _data_stat, ("data", watch))).result()
        return data, stat, watch

    async def children_watch(self, path: str) -> tuple[list[str], Watch]:
        """`children`, and a watch on the next change of the list, or the znode's deletion."""
        watch = Watch(self, path)
        names = await self.submit(self._read(op.GET_CHILDREN, path, _names, ("child", watch))).result()
        return names, watch

    def watch(self, path: str, *, recursive: bool = False) -> WatchStream:
        """`async with client.watch(path) as events:` every change at `path`, or also below it, as a stream."""
        self.full(path)
        return WatchStream(self, path, recursive)

    async def get_acl(self, path: str) -> tuple[list[ACL], Stat]:
        """Who may do what, and the Stat."""
        call = Call(
            op.GET_ACL,
            rq.encode_path(self.full(path)),
            lambda r, at: rq.decode_acl_stat(r, at)[:2],
            path=path,
            reads=True,
        )
        acl, stat = await self.submit(call).result()
        return acl, stat

    async def set_acl(self, path: str, acl: Sequence[ACL], version: int = -1) -> Stat:
        """Replace the ACL, if its version is `version` (-1: any). Raises NoNode, BadVersion, NoAuth, InvalidACL."""
        call = Call(op.SET_ACL, rq.encode_set_acl(self.full(path), acl, version), _stat, path=path)
        stat: Stat = await self.submit(call).result()
        return stat

    def transaction(self) -> Transaction:
        """Several writes that happen together or not at all."""
        return Transaction(self)

    async def add_auth(self, scheme: str, credentials: str) -> None:
        """Show who this client is, on this connection and on those to come. Raises AuthFailed."""
        pair = scheme.encode(), credentials.encode()
        await self.submit(Call(op.AUTH, rq.encode_auth(*pair))).result()
        self._link.credentials.append(pair)

    async def sync(self, path: str = "/") -> None:
        """Wait until this server has what its leader had committed when it was asked."""
        await self.submit(Call(op.SYNC, rq.encode_path(self.full(path)), path=path, reads=True)).result()

    async def ephemerals(self, prefix: str = "/") -> list[str]:
        """Paths of this session's ephemeral znodes that begin with `prefix`, sorted."""
        call = Call(op.GET_EPHEMERALS, rq.encode_path(self.full(prefix)), _children, path=prefix, reads=True)
        return sorted(self.shown(path) for path in await self.submit(call).result())

    async def count_descendants(self, path: str) -> int:
        """How many znodes are below `path`."""
        call = Call(op.GET_ALL_CHILDREN_NUMBER, rq.encode_path(self.full(path)), un_int, path=path, reads=True)
        count: int = (await self.submit(call).result())[0]
        return count

    async def who_am_i(self) -> list[Id]:
        """The identities the server knows this client by."""
        call = Call(op.WHO_AM_I, b"", lambda reply, at: rq.decode_who_am_i(reply, at)[0], reads=True)
        return [Id(text(scheme), text(user)) for scheme, user in await self.submit(call).result()]

    def _read(
        self, kind: int, path: str, decode: Callable[[bytes, int], Any], watch: tuple[str, Watch] | None = None
    ) -> Call:
        full = self.full(path)
        armed = None if watch is None else (watch[0], full, watch[1])
        return Call(kind, rq.encode_path_watch(full, watch is not None), decode, path=path, reads=True, watch=armed)


def _stat(reply: bytes, at: int) -> Stat:
    return decode_stat(reply, at)[0]


def _data_stat(reply: bytes, at: int) -> tuple[bytes, Stat]:
    data, stat, _ = rq.decode_data_stat(reply, at)
    return data or b"", stat


def _children(reply: bytes, at: int) -> list[bytes]:
    return rq.decode_children(reply, at)[0]


def _names(reply: bytes, at: int) -> list[str]:
    return sorted(text(name) for name in _children(reply, at))
