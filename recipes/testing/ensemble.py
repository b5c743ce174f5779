"""An ensemble inside this process, for tests and examples: real servers on real sockets, in one thread."""

import asyncio
import socket
import sys
from collections.abc import Callable, Collection, Coroutine
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio import CancelScope, to_thread

from recipes.core.client.client import Client
from recipes.core.config import ServerConfig
from recipes.core.errors import BadArguments, RecipesError
from recipes.core.protocols import DEFAULT, NAMES, ProtocolName
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.server.server import Server
from recipes.embedded import LoopThread, OwnDirectory, start_server
from recipes.testing.expire import expire_session
from recipes.testing.proxy import Proxy

T = TypeVar("T")

_DEADLINE_S = 30.0
_POLL_S = 0.01
_HOST = "127.0.0.1"


class Ensemble:
    """`async with Ensemble(3) as ensemble:` or `with Ensemble(3) as ensemble:`, then `connect(ensemble.hosts)`.

    size: servers that vote, numbered from 1. observers: further servers, which do not vote.
    tick_time_ms: sessions may be as short as two ticks.
    protocol: how the servers replicate, "zab" or "raft".
    read_only: a server that has had no leader for 2 s serves clients that only read, `connect(read_only=True)`.

    Each server keeps its files in a temporary directory, so that a server that is killed returns with its data. A
    server that fails, for example because the disk is full, logs an ERROR and is down from then on, as if killed.
    The methods may be awaited on asyncio and on trio. Outside the block they raise RecipesError.
    """

    def __init__(
        self,
        size: int = 3,
        observers: int = 0,
        *,
        tick_time_ms: int = 250,
        read_only: bool = False,
        protocol: ProtocolName = DEFAULT,
    ) -> None:
        if size < 1 or observers < 0:
            raise BadArguments("", f"an ensemble of {size} servers and {observers} observers: expected one or more")
        if protocol not in NAMES:
            raise BadArguments("", f"protocol {protocol!r}: expected {' or '.join(NAMES)}")
        self._protocol: ProtocolName = protocol
        self._sids = range(1, size + observers + 1)
        self._voters = size
        self._tick_time_ms = tick_time_ms
        self._read_only = read_only
        self._configs: dict[int, ServerConfig] = {}
        self._running: dict[int, Server] = {}
        self._ending: dict[int, asyncio.Task[None]] = {}  # of servers that have failed
        self._proxies: dict[tuple[int, int], list[Proxy]] = {}  # (from, to) -> the proxies before both ports
        self._held = ExitStack()
        self._inside = False

    @property
    def hosts(self) -> str:
        """Where clients connect: every server, also those that are down."""
        return ",".join(self.host(sid) for sid in self._sids)

    def host(self, sid: int) -> str:
        """Where clients of one server connect."""
        return f"{_HOST}:{self._configs[self._known(sid)].client_port}"

    # Its life.

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = OwnDirectory("recipes-ensemble-")
            stack.callback(directory.close)
            stack.callback(self._held.close)
            self._thread = LoopThread("recipes-ensemble")
            stack.callback(self._thread.close)
            stack.callback(lambda: self._thread.call(self._close))
            self._thread.call(lambda: self._open(directory.path))
            self._cleanup = stack.pop_all()
        self._inside = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside = False
        if self._thread.runs_here:
            self._cleanup.close()

    async def __aenter__(self) -> Self:
        return await to_thread.run_sync(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):  # a time limit must not leave servers behind
            await to_thread.run_sync(self.__exit__, kind, error, trace)

    # What happens to it.

    async def leader(self) -> int:
        """The number of the server that leads; waits until one does. Raises TimeoutError after half a minute."""

        async def find() -> int:
            async with asyncio.timeout(_DEADLINE_S):
                while True:
                    for sid, server in self._running.items():
                        if server.member.role == "leader":
                            return sid
                    await asyncio.sleep(_POLL_S)

        return await self._wait(find)

    async def settled(self) -> None:
        """Wait until every server that runs serves clients. Raises TimeoutError after half a minute."""
        await self._wait(self._settle)

    async def kill(self, sid: int) -> None:
        """End a server at once, as `kill -9` does: its connections break, its files stay."""

        async def kill() -> None:
            server = self._running.pop(self._known(sid), None)
            if server is not None:
                await server.__aexit__(None, None, None)

        await self._call(kill)

    async def restart(self, sid: int) -> None:
        """Start a server that was killed. It joins the others by itself; `settled` waits for that."""

        async def restart() -> None:
            if self._known(sid) not in self._running:
                await self._start(sid)

        await self._call(restart)

    async def partition(self, *groups: Collection[int]) -> None:
        """Let only servers of the same group reach one another; the servers that are in no group form one more group.

        So `partition([leader])` cuts the leader off from all others, and `partition([1], [2], [3])` cuts every server
        off. Clients are not cut off. Nothing that is sent is lost: it arrives when the partition ends.
        """
        named = {self._known(sid) for group in groups for sid in group}
        groups = (*groups, [sid for sid in self._sids if sid not in named])

        async def cut() -> None:
            for (one, other), proxies in self._proxies.items():
                together = any(one in group and other in group for group in groups)
                for proxy in proxies:
                    proxy.cut(not together)

        await self._call(cut)

    async def heal(self) -> None:
        """Let all servers reach one another again."""
        await self.partition(self._sids)

    async def expire(self, client: Client) -> None:
        """End the session of `client`, as if it had not been heard from for too long."""
        self._refuse_outside()
        await expire_session(client, ",".join(self.host(sid) for sid in self._running))

    # Inside; what follows runs in the thread.

    async def _call(self, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._refuse_outside()
        return await to_thread.run_sync(self._thread.call, what)

    async def _wait(self, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As _call, for functions that change nothing: ends as soon as the caller is cancelled."""
        self._refuse_outside()
        future = self._thread.begin(what)
        try:
            return await to_thread.run_sync(future.result, abandon_on_cancel=True)
        finally:
            future.cancel()  # also frees the thread that waits for it

    def _refuse_outside(self) -> None:
        if not self._inside:
            raise RecipesError("the ensemble is not running: use it inside `async with Ensemble(3) as ensemble`")

    def _known(self, sid: int) -> int:
        self._refuse_outside()
        if sid not in self._sids:
            raise BadArguments("", f"server {sid}: expected 1 to {len(self._sids)}")
        return sid

    async def _open(self, directory: Path) -> None:
        ports = iter(hold_ports(3 * len(self._sids), self._held))
        own = {sid: (next(ports), next(ports), next(ports)) for sid in self._sids}
        for sid in self._sids:
            places = [await self._place(sid, other, own[other]) for other in self._sids]
            self._configs[sid] = ServerConfig(
                data_dir=directory / str(sid),
                client_port=own[sid][2],
                membership=Membership(places),
                server_id=sid,
                replication=self._protocol,
                tick_time_ms=self._tick_time_ms,
                max_session_timeout_ms=60_000,
                pre_alloc_size_kb=1024,
                max_connections_per_ip=0,
                read_only_mode=self._read_only,
                force_sync=False,  # the directory goes with the process
            )
        for sid in self._sids:
            await self._start(sid)
        await self._settle()

    async def _place(self, sid: int, other: int, ports: tuple[int, int, int]) -> QuorumServer:
        """The address where `sid` reaches `other`: its own is direct, all others are behind proxies."""
        quorum, election = ports[:2]
        if sid != other:
            proxies = self._proxies[sid, other] = [Proxy(quorum), Proxy(election)]
            quorum, election = [await proxy.open() for proxy in proxies]
        return QuorumServer(other, _HOST, quorum, election, other > self._voters)

    async def _start(self, sid: int) -> None:
        if (ending := self._ending.pop(sid, None)) is not None:
            await ending

        def failed(_: BaseException, ending: asyncio.Task[None]) -> None:
            self._running.pop(sid, None)
            self._ending[sid] = ending

        self._running[sid] = await start_server(self._configs[sid], failed)

    async def _settle(self) -> None:
        async with asyncio.timeout(_DEADLINE_S):
            while not all(server.member.serving for server in self._running.values()):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)

    async def _close(self) -> None:
        while self._running:
            await self._running.popitem()[1].__aexit__(None, None, None)
        for proxies in self._proxies.values():
            for proxy in proxies:
                await proxy.close()


def hold_ports(count: int, held: ExitStack) -> list[int]:
    """Ports below those that the system gives to outgoing connections, free for servers of this process.

    On Linux nobody else gets them while `held` is open, also while their server is down: each is bound and not listened
    on, which keeps only a socket without SO_REUSEADDR from it.
    """
    chance = SystemRandom()
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = chance.randrange(15_000, 32_000)
            sock = stack.enter_context(socket.socket())
            try:
                sock.bind((_HOST, port))  # without SO_REUSEADDR: a port that another process holds is refused
            except OSError:
                continue
            found.append(port)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            held.push(stack.pop_all())
    return found
