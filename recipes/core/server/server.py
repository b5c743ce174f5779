"""The shell around a Member: sockets, clocks, timers and the disk.

The event loop first takes in everything that has arrived on any socket. Then one turn follows: it puts all writes on
disk with one sync, and sends each connection all its replies with one write. turn.py decides the order of these steps;
this file carries them out.
"""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import SystemRandom
from time import monotonic_ns, perf_counter, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Self

from recipes.core.address import with_port
from recipes.core.disk.directories import open_directories, take_initialize
from recipes.core.disk.jobs import Job
from recipes.core.disk.recovery import Trust
from recipes.core.disk.replacements import Replacements
from recipes.core.disk.snapshot_writer import SnapshotWriter
from recipes.core.disk.store import Store
from recipes.core.disk.write_queue import WriteQueue
from recipes.core.errors import DiskError
from recipes.core.jute.records import Ids
from recipes.core.member.connection import Connection
from recipes.core.member.member import Member
from recipes.core.outbox import Outbox
from recipes.core.protocols import find_protocol, protocol_of, refusal
from recipes.core.replication import Replica, ReplicationProtocol
from recipes.core.server.accepting import Tls
from recipes.core.server.client_places import ClientPlace, ClientPlaces
from recipes.core.server.client_port import ClientProtocol, read_buffer
from recipes.core.server.descriptors import most_clients
from recipes.core.server.exposure import exposed_files, exposed_ports
from recipes.core.server.facts import ServerFacts
from recipes.core.server.flusher import Flusher
from recipes.core.server.listening import Listener, addresses_of, listen, listen_on_socket
from recipes.core.server.refusals import UNFINISHED, Refusals, shown
from recipes.core.server.settings import member_config, own_secret
from recipes.core.server.strangers import Strangers
from recipes.core.standalone import Standalone
from recipes.core.tree.tree import DataTree
from recipes.core.turn import Turn

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from recipes.core.config import ServerConfig
    from recipes.core.server.peering import Peering

log: logging.Logger = logging.getLogger("recipes.server")

_LONGEST_TICK_MS = 1000
_FILL_AHEAD_BYTES = 4 << 20
_BACKLOG = 512
_LONGEST_INTAKE_NS = 10_000_000  # then those who came first are answered, although more has arrived
_LEAST_FILE_BYTES = 16 << 20  # smaller log files are not made for want of memory


async def serve(config: "ServerConfig", *, task_status: "TaskStatus[str] | None" = None) -> None:
    """Run one server on asyncio until cancelled.

    task_status: given by `await task_group.start(serve, config)`, which returns the `host:port` for clients once the
        server serves, also when `config.client_port` is 0 and the system chose a port.

    Raises DiskError when the directory is damaged, used by another server or no longer writable, ConfigError for
    unusable TLS files, OSError when a client port cannot be opened.
    """
    async with Server(config) as server:
        if task_status is not None:
            plain = config.client_port is not None
            host = config.client_address if plain else config.secure_client_address
            port = server.client_port if plain else server.secure_client_port
            task_status.started(with_port(host, port or 0))
        await server.failed


class Server:
    """A server on asyncio, standalone or a member of an ensemble.

    `async with Server(config) as server:` recovers the data directory and serves until the block ends. client_port,
    secure_client_port, admin_port and metrics_port are then the ports it listens on; None for those it does not open.
    Raises DiskError when the directory is damaged or used by another server, ConfigError for unusable TLS files,
    OSError when a client port cannot be opened. `failed` is done, with the error, when the server can no longer serve.

    protocol: what a member runs in place of the protocol that its configuration names: the same one with a watcher
        around its Replica, for example.
    """

    def __init__(self, config: "ServerConfig", protocol: ReplicationProtocol | None = None) -> None:
        self.config = config
        self._protocol = protocol
        self._protocols: dict[int, ClientProtocol] = {}
        self._buffer = read_buffer()
        self._scheduled = self._hanging_up = self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._begun_ns = self._reads_before = 0  # of the turn that takes in input now
        self.client_port = config.client_port
        self.secure_client_port = config.secure_client_port
        self.admin_port: int | None = None
        self.metrics_port: int | None = None
        self._peering: Peering | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        config = self.config
        self._refusals = Refusals(self._loop.time, self._loop.call_later)
        most, most_per_host = config.max_connections, config.max_connections_per_ip
        self._places = ClientPlaces(most, most_per_host, most_clients(), self._refusals)
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        if not self.failed.done():
            self.failed.cancel()

    async def _start(self, stack: AsyncExitStack) -> None:
        config = self.config
        snapshots, logs = stack.enter_context(
            open_directories(config.data_dir, config.data_log_dir, create=config.create_directories)
        )
        may_be_empty = take_initialize(config.data_dir, config.data_log_dir) or config.trust_empty_database
        tree = DataTree()
        fill_bytes = min(max(1, config.pre_alloc_size_kb) << 10, _FILL_AHEAD_BYTES)
        protocol = None if config.membership is None else self._protocol or find_protocol(config.replication)
        if protocol is not None and (why := refusal(protocol.name, snapshots.names(), config.data_dir)):
            raise DiskError(why)
        store = Store(snapshots, logs, fill_bytes, protocol, Trust(may_be_empty, config.trust_missing_snapshot))
        begun_ns = monotonic_ns()
        found = store.recover(tree)
        txns = "1 txn" if found.txns == 1 else f"{found.txns} txns"
        log.info("recovered zxid 0x%x: snapshot 0x%x and %s", found.last_zxid, found.snapshot_zxid, txns)
        if protocol is None and protocol_of(snapshots.names()) is not None:
            log.warning(
                "data directory belongs to a member of an ensemble and is served alone: do not take it back to that "
                "ensemble once something was written to it"
            )
        if found.mismatches:
            log.error("the tree differs from its log: their digests differ at zxid 0x%x", found.mismatches[0])
        if found.rotten_end and protocol is None:
            log.warning("the last txn of the log is lost, and may have been acknowledged: %s", found.rotten_end)
        if found.unsure:
            log.error("this server does not vote until a leader has sent it a snapshot: %s", found.unsure)
        # Each new object is looked at twice, whatever these are; together they say for how long at a time: for 5 ms.
        gc.set_threshold(5000, 5, 40_000)
        if gc.isenabled():  # else whoever turned it off for the start does this
            gc.collect()
            gc.freeze()
        secret = own_secret(config, snapshots)
        replica: Replica = Standalone(tree.last_zxid)
        if protocol is not None:
            from recipes.core.server.peering import Peering  # a standalone server starts sooner without it

            self._peering = Peering(self, protocol, found, secret)
            replica = self._peering.peer
        self.member: Member = Member(member_config(config, secret), tree, replica, *_clocks())
        self._places.stats = self.member.stats
        self._facts = ServerFacts(config) if self._peering is None else self._peering.facts
        self.member.facts = self._facts
        self.member.stats.loaded(found.txns, (monotonic_ns() - begun_ns) // 1_000_000)
        self._flusher = Flusher(store, done=self._job_done, failed=self._disk_failed, stats=self.member.stats)
        self.write: Callable[[Job], bool] = self._flusher.write  # saves a call per batch
        stack.callback(self._flusher.close)
        replacements = Replacements(threading.Lock())
        self.turn: Turn = Turn(
            self.member,
            replica,
            WriteQueue(replacements, fill_bytes // 4, config.force_sync, self._file_limit_bytes()),
            SnapshotWriter(
                snapshots, config.snap_count, replacements, randrange=SystemRandom().randrange, clock=perf_counter,
                log=self.log, size_limit_bytes=config.snap_size_limit_kb << 10,
                replayed=(found.txns or len(found.history), found.replayed_bytes),
            ),
            self,
            tick_ms=min(max(1, config.tick_time_ms // 2), _LONGEST_TICK_MS),
        )  # fmt: skip
        self._logs = logs
        stack.push_async_callback(self._end_turns)
        if self._peering is not None:  # before any client's turn, which would already send votes
            await self._peering.start(stack)
        self.schedule()
        await self._listen(stack)
        if config.purge_interval_hours:
            self._purge()
            stack.callback(lambda: self._purge_timer.cancel())

    def _file_limit_bytes(self) -> int:
        """Where a log file ends: a server reads it whole as it starts, and needs that memory beside its tree then."""
        stated, store = self.config.log_size_limit_kb << 10, self.member.config.store_limit_bytes
        by_memory = max(store // 8, _LEAST_FILE_BYTES) if store else 0
        return min(stated, by_memory) if stated and by_memory else stated or by_memory

    async def _listen(self, stack: AsyncExitStack) -> None:
        config = self.config
        for text in (*exposed_ports(config), *exposed_files(config)):
            log.warning("%s", text)
        stack.push_async_callback(self._hang_up)
        if config.client_port is not None:
            addresses = await addresses_of(config.client_address)
            tls = self._tls("client port", plain=self._plain_protocol) if config.client_port_unification else None
            make = self._plain_protocol if tls is None else self._secure_protocol
            listener = listen(make, addresses, config.client_port, backlog=_BACKLOG, tls=tls, places=self._places)
            stack.callback(listener.close)
            self.client_port = listener.port
        if config.secure_client_port is not None:
            secure = listen(
                self._secure_protocol,
                await addresses_of(config.secure_client_address),
                config.secure_client_port,
                backlog=_BACKLOG,
                tls=self._tls("secure client port"),
                places=self._places,
            )
            stack.callback(secure.close)
            self.secure_client_port = secure.port
        if config.admin_enabled or config.metrics_port is not None:
            from recipes.core.server import admin_http

            if config.admin_enabled:
                self.admin_port = await admin_http.listen(stack, self, config.admin_address, config.admin_port)
            if config.metrics_port is not None:
                self.metrics_port = await admin_http.listen(
                    stack, self, config.metrics_address, config.metrics_port, only_metrics=True
                )

    def _plain_protocol(self, place: ClientPlace) -> ClientProtocol:
        return ClientProtocol(self, self._buffer, place)

    def _secure_protocol(self, place: ClientPlace) -> ClientProtocol:
        return ClientProtocol(self, self._buffer, place, secure=True)

    def _local_protocol(self, place: ClientPlace) -> ClientProtocol:
        return ClientProtocol(self, self._buffer, place, local=True)

    def _tls(self, what: str, plain: Callable[[ClientPlace], ClientProtocol] | None = None) -> Tls:
        from recipes.core.server.tls import server_context  # imported only if needed: it takes time

        def refused(address: object, error: OSError) -> None:
            self.member.stats.handshakes_failed += 1
            self._refusals.handshake(what, address, error)

        def crowded(address: object, count: int) -> None:
            self.member.stats.handshakes_exceeded += 1
            self._refusals.crowded(what, UNFINISHED, address, count)

        unfinished = Strangers(crowded, self.config.most_handshakes)
        self._facts.handshakes.append(unfinished)
        limit_s = self.config.sessionless_timeout_ms / 1000
        return Tls(server_context(self.config), limit_s, unfinished, refused, plain)

    def listen_on_socket(self, path: Path) -> Listener:
        """Also accept clients on a Unix socket, until the returned listener is closed. Raises OSError."""
        return listen_on_socket(self._local_protocol, path, backlog=_BACKLOG, places=self._places)

    async def _hang_up(self) -> None:
        """Close every client's socket, and wait until each is closed; later ones are closed as they come."""
        self._hanging_up = True
        for protocol in list(self._protocols.values()):
            if protocol.transport is not None:
                protocol.transport.abort()
        while self._protocols:  # noqa: ASYNC110 - a socket is closed one loop turn later, there is no event for it
            await asyncio.sleep(0)

    # What protocols call.

    def admit(
        self, protocol: ClientProtocol, transport: asyncio.BaseTransport, secure: bool, local: bool
    ) -> Connection | None:
        """A Connection for a new client; None to close its socket. local: it uses a Unix socket."""
        if self._hanging_up:  # asyncio may have accepted the socket just before the port was closed
            return None
        config = self.config
        address = ("", 0) if local else transport.get_extra_info("peername")
        if address is None:  # the socket is closed already
            return None
        host = address[0]
        ids: Ids = ()
        if secure:
            from recipes.core.server.tls import certificate_ids

            ids = certificate_ids(transport.get_extra_info("peercert"))
        self.schedule()
        connection = self.member.connect((host, address[1]), ids, secure)
        self._protocols[connection.key] = protocol
        self._loop.call_later(config.sessionless_timeout_ms / 1000, self._check_session, connection.key)
        return connection

    def release(self, protocol: ClientProtocol) -> None:
        """A client's socket is closed."""
        if protocol.connection is not None:
            self._protocols.pop(protocol.connection.key, None)

    def hung_up(self, address: tuple[str, int], why: str) -> None:
        """Log that a client was hung up on."""
        where = shown(address) if address[0] else "on the socket"
        self._refusals.say(f"hung up on client {where}: {why}", about=f"client {address[0]} {why}")

    def schedule(self) -> None:
        """Call this before handing over input: a turn follows once everything that has arrived is taken in."""
        if not self._scheduled:
            self._scheduled = True
            self._count_turn()
            self.turn.begin(self._begun_ns // 1_000_000, time_ns() // 1_000_000)
            # The turn runs behind the sockets of the next loop turn, not of this one, so that bytes which arrive in
            # between share its sync and its writes.
            self._loop.call_soon(self._loop.call_soon, self._carry_out)

    def take_in(self) -> None:
        """Call this before handing over a client's bytes. If there are bytes of thousands, some are answered before.

        uvloop reads from up to 49,152 sockets before it does anything else. Until then the turn goes on, without more
        time for what takes several turns: whoever waits to be read from comes first.
        """
        if not self._scheduled:
            self.schedule()
        elif monotonic_ns() - self._begun_ns >= _LONGEST_INTAKE_NS:
            self.guarded(self.turn.carry_out)
            self._report_turn()
            self._count_turn()

    def tidy(self) -> None:
        """Begin a snapshot now, and remove the files that existing snapshots have made superfluous."""
        self.schedule()
        self.turn.begin_snapshot()
        self._purge_now()

    def fail(self, error: BaseException) -> None:
        """Stop serving because of an error: nothing more leaves the server, and `failed` gets the error."""
        if not self.failed.done():
            self.failed.set_exception(error)
            self.turn.stop()

    def guarded(self, step: Callable[[], None]) -> None:
        """Do one step; an unexpected error ends the server, since it may have left something half done."""
        if self.failed.done():
            return
        try:
            step()
        except Exception as error:
            self.fail(error)

    # When turns happen.

    def _carry_out(self) -> None:
        self._scheduled = False
        self.guarded(self.turn.carry_out)
        self._report_turn()

    def _count_turn(self) -> None:
        self._begun_ns = monotonic_ns()
        stats = self.member.stats
        self._reads_before = stats.packets_received - stats.updates

    def _report_turn(self) -> None:
        took_ns = monotonic_ns() - self._begun_ns
        if took_ns >= 1_000_000:
            self.member.stats.turn_took(took_ns // 1_000_000, self._reads_before)

    def _wake(self) -> None:
        self.guarded(self._do_what_is_due)

    def _do_what_is_due(self) -> None:
        self.turn.begin(*_clocks())
        self.turn.wake()

    def _job_done(self, job: Job) -> None:
        if not self.failed.done():
            self.schedule()
            self.turn.done(job)

    # The effects of a turn: see turn.Effects.

    def post(self, outbox: Outbox) -> None:
        """Send the outbox to the other servers."""
        if self._peering is not None:
            self._peering.post(outbox)

    def reply(self, connections: list[Connection]) -> None:
        """Send the output of these connections."""
        protocols = self._protocols
        for connection in connections:
            protocol = protocols.get(connection.key)
            if protocol is not None:
                protocol.flush()

    def wake_at(self, now_ms: int) -> None:
        """Set the timer."""
        if self._closing:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0, now_ms - _clocks()[0]) / 1000, self._wake)

    def log(self, text: str, is_error: bool) -> None:
        """Log a text for the operator."""
        log.log(logging.ERROR if is_error else logging.INFO, "%s", text)

    # Inside.

    async def _end_turns(self) -> None:
        """Write nothing more. Wait for a snapshot that is being synced and named; drop one still being written."""
        self.turn.stop()
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        await self._flusher.settle()
        self.turn.snapshots.abandon()

    def _disk_failed(self, error: BaseException) -> None:
        broken = DiskError(f"the transaction log cannot be written: {error}") if isinstance(error, OSError) else error
        self.fail(broken)

    def _check_session(self, key: int) -> None:
        """Disconnect a client that has not opened a session by now."""
        protocol = self._protocols.get(key)
        if protocol is None or protocol.connection is None or protocol.connection.session_id:
            return
        self.member.stats.sessionless += 1
        why = f"it opened no session within {self.config.sessionless_timeout_ms} ms"
        self.hung_up(protocol.connection.address, why)
        if protocol.transport is not None:
            protocol.transport.abort()

    def _purge(self) -> None:
        config = self.config
        self._purge_timer = self._loop.call_later(config.purge_interval_hours * 3600, self._purge)
        self._purge_now()

    def _purge_now(self) -> None:
        purged = self._loop.run_in_executor(None, self.turn.snapshots.purge, self._logs, self.config.snap_retain_count)
        purged.add_done_callback(_report_purged)


def _report_purged(purged: asyncio.Future[list[str]]) -> None:
    error = purged.exception()
    if error is None:
        log.info("purged %s files", len(purged.result()))
    else:
        log.error("old snapshots and logs cannot be purged: %s", error)


def _clocks() -> tuple[int, int]:
    """Monotonic and wall clock in ms."""
    return monotonic_ns() // 1_000_000, time_ns() // 1_000_000
