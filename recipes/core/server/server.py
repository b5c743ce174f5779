"""The shell around a Member: sockets, clocks, timers and the disk.

One turn of the event loop takes in whatever has arrived on any socket; then, once, the turn: everything decided is
put on disk with one sync, and each connection gets all its replies with one write.
"""

import asyncio
import gc
import logging
from collections.abc import Iterator
from random import SystemRandom
from time import monotonic_ns, time_ns
from types import TracebackType
from typing import Self

from recipes.core.config import ServerConfig
from recipes.core.disk.disk import File, RealDisk
from recipes.core.disk.recovery import TEMPORARY, purge, recover
from recipes.core.disk.snapshot import snapshot_name, write_snapshot
from recipes.core.disk.txnlog import TxnLog
from recipes.core.errors import DiskError
from recipes.core.member.connection import Connection
from recipes.core.member.member import Member, MemberConfig
from recipes.core.replication import Standalone
from recipes.core.server.client_port import ClientProtocol
from recipes.core.server.flusher import Flusher
from recipes.core.tree.tree import DataTree

log = logging.getLogger("recipes.server")

_SNAPSHOT_SLICE_S = 0.01


class Server:
    """A server alone, on asyncio.

    `async with Server(config) as server:` recovers the data directory and serves until the block ends; `client_port`
    is then the port it listens on. Raises DiskError when the directory is damaged or another server's, OSError when
    the port cannot be had. `failed` is done, with the error, when the server can no longer serve.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._protocols: dict[int, ClientProtocol] = {}
        self._per_ip: dict[str, int] = {}
        self._scheduled = self._turning = False
        self._snapshot: tuple[int, Iterator[bytes], File, int] | None = None
        self._snapshot_after = self._next_snapshot()
        self.client_port = config.client_port

    async def __aenter__(self) -> Self:
        config = self._config
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._snapshots = RealDisk(config.data_dir / "version-2")
        separate = config.data_log_dir is not None and config.data_log_dir != config.data_dir
        self._logs = self._snapshots
        try:
            if separate:
                self._logs = RealDisk(config.data_log_dir / "version-2")  # type: ignore[operator]
            tree = DataTree()
            found = recover(self._snapshots, self._logs, tree)
            log.info(
                "recovered zxid 0x%x: snapshot 0x%x and %s txns", found.last_zxid, found.snapshot_zxid, found.txns
            )
            if found.mismatches:
                log.error("the tree's digest differs from the log's at zxid 0x%x", found.mismatches[0])
            gc.set_threshold(50_000, 20, 1000)
            gc.collect()
            gc.freeze()
            now_ms, wall_ms = _clocks()
            self.member = Member(self._member_config(), tree, Standalone(tree.last_zxid), now_ms, wall_ms)
            self._flusher = Flusher(
                self._loop, TxnLog(self._logs), sync=config.force_sync, flushed=self._flushed, failed=self._fail
            )
            self._listener = await self._loop.create_server(
                lambda: ClientProtocol(self), config.client_address, config.client_port, backlog=512
            )
        except BaseException:
            self._close_disks()
            raise
        self.client_port = self._listener.sockets[0].getsockname()[1]
        self._timer = self._loop.call_later(self._tick_s(), self._tick)
        self._purge_timer = self._schedule_purge()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._purge_timer is not None:
            self._purge_timer.cancel()
        self._listener.close()
        for protocol in list(self._protocols.values()):
            if protocol.transport is not None:
                protocol.transport.abort()
        while self._protocols:
            await asyncio.sleep(0)
        await self._listener.wait_closed()
        self._flusher.close()
        if self._snapshot is not None:
            self._snapshot[2].close()
        self._close_disks()
        if not self.failed.done():
            self.failed.cancel()

    # What protocols call.

    def admit(self, protocol: ClientProtocol, address: tuple[str, int]) -> Connection | None:
        """A connection for a new client; None when there are too many."""
        config, host = self._config, address[0]
        count = self._per_ip.get(host, 0)
        full = config.max_connections and len(self._protocols) >= config.max_connections
        if full or (config.max_connections_per_ip and count >= config.max_connections_per_ip):
            log.warning("too many connections from %s", host)
            return None
        self._per_ip[host] = count + 1
        connection = self.member.connect(address)
        self._protocols[connection.key] = protocol
        return connection

    def release(self, protocol: ClientProtocol) -> None:
        """A client's socket is closed."""
        connection = protocol.connection
        if connection is not None and self._protocols.pop(connection.key, None) is not None:
            host = connection.address[0]
            self._per_ip[host] -= 1
            if not self._per_ip[host]:
                del self._per_ip[host]

    def schedule(self) -> None:
        """Something has come in: let a turn follow once everything has."""
        if not self._scheduled:
            self._scheduled = True
            self.member.begin_turn(*_clocks())
            self._loop.call_soon(self._turn)

    # The turn.

    def _turn(self) -> None:
        self._scheduled = False
        self._turning = True
        flusher = self._flusher
        if not flusher.busy:
            writes = self.member.take_writes()
            if writes:
                if not flusher.inline:
                    self._send()
                flusher.put(writes)
                if not flusher.busy:
                    self._look_after_log()
        self._send()
        self._turning = False

    def _flushed(self, zxid: int) -> None:
        self.member.flushed(zxid)
        if not self._turning:  # it comes from the flusher's thread: what has piled up meanwhile can go now
            self.schedule()

    def _send(self) -> None:
        protocols = self._protocols
        for connection in self.member.take_touched():
            protocol = protocols.get(connection.key)
            if protocol is not None:
                protocol.flush()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_SNAPSHOT_SLICE_S if self._snapshot else self._tick_s(), self._tick)
        self.member.begin_turn(*_clocks())
        self.member.tick()
        if self._snapshot is not None:
            self._write_slice()
        if not self._flusher.busy:
            self._look_after_log()
        self._turn()

    def _look_after_log(self) -> None:
        """Keep room ahead in the log, and start a snapshot when enough txns have gone by."""
        full = not self._flusher.reserve()
        if full != self.member.disk_full:
            log.error("no space for the transaction log: writes are refused") if full else log.info("there is space again")
            self.member.no_space(full)
        if self._flusher.records >= self._snapshot_after and self._snapshot is None and not full:
            self._snapshot_after = self._next_snapshot()
            self._flusher.roll()
            zxid = self.member.tree.last_zxid
            self._snapshot = zxid, write_snapshot(self.member.tree), self._snapshots.create(TEMPORARY), 0

    def _write_slice(self) -> None:
        zxid, chunks, file, at = self._snapshot  # type: ignore[misc]
        try:
            chunk = next(chunks, None)
            if chunk is not None:
                file.write(at, chunk)
                self._snapshot = zxid, chunks, file, at + len(chunk)
                return
            self._snapshot = None
            file.sync()
            file.close()
            self._snapshots.rename(TEMPORARY, snapshot_name(zxid))
            self._snapshots.sync()
        except OSError as error:
            self._snapshot = None
            log.error("snapshot 0x%x was not written: %s", zxid, error)  # noqa: TRY400
            return
        gc.freeze()
        log.info("wrote snapshot 0x%x", zxid)

    def _fail(self, error: OSError) -> None:
        if not self.failed.done():
            self.failed.set_exception(DiskError(f"the transaction log cannot be written: {error}"))

    # Settings and clocks.

    def _member_config(self) -> MemberConfig:
        config = self._config
        low, high = config.session_timeouts_ms
        secret = config.session_secret_file.read_bytes().strip() if config.session_secret_file else None
        return MemberConfig(
            tick_ms=config.tick_time_ms,
            min_session_timeout_ms=low,
            max_session_timeout_ms=high,
            max_frame_bytes=config.max_frame_bytes,
            extended_types=config.extended_types,
            enforce_quota=config.enforce_quota,
            super_digest=config.super_digest.encode() if config.super_digest else None,
            session_secret=secret,
            four_letter_whitelist=config.four_letter_whitelist,
            container_check_ms=config.container_check_ms,
            container_max_per_check=config.container_max_per_check,
            settings=(
                ("clientPort", str(config.client_port)),
                ("dataDir", str(config.data_dir / "version-2")),
                ("dataLogDir", str((config.data_log_dir or config.data_dir) / "version-2")),
                ("tickTime", str(config.tick_time_ms)),
                ("maxClientCnxns", str(config.max_connections_per_ip)),
                ("minSessionTimeout", str(low)),
                ("maxSessionTimeout", str(high)),
                ("serverId", "0"),
            ),
        )

    def _next_snapshot(self) -> int:
        """Txns until the next snapshot: between half of snapCount and all of it, so that servers do not agree on it."""
        half = self._config.snap_count // 2
        return half + SystemRandom().randrange(max(1, half))

    def _tick_s(self) -> float:
        return min(self._config.tick_time_ms / 2000, 1.0)

    def _schedule_purge(self) -> asyncio.TimerHandle | None:
        hours = self._config.purge_interval_hours
        return self._loop.call_later(hours * 3600, self._purge) if hours else None

    def _purge(self) -> None:
        self._purge_timer = self._schedule_purge()
        for name in purge(self._snapshots, self._logs, self._config.snap_retain_count):
            log.info("purged %s", name)

    def _close_disks(self) -> None:
        self._snapshots.close()
        if self._logs is not self._snapshots:
            self._logs.close()


def _clocks() -> tuple[int, int]:
    """Monotonic and wall clock in ms."""
    return monotonic_ns() // 1_000_000, time_ns() // 1_000_000
