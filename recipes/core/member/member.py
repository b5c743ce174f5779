"""One server, still pure: bytes, ticks and "it is on disk" in; bytes and writes out.

A shell (the real one or the simulator's) owns the sockets, the clock and the disk. Per turn it calls `begin_turn`,
hands over what came in, takes `take_writes`, puts them on disk, calls `flushed`, and sends what the connections in
`take_touched` hold. Nothing is answered before its txn is in `flushed`: replies are made when the Replica commits.
"""

from collections import deque
from dataclasses import dataclass

from recipes.core.errors import invariant
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int
from recipes.core.jute.records import ConnectRequest
from recipes.core.jute.txns import decode_txn
from recipes.core.member.admin import four_letter
from recipes.core.member.connection import Connection
from recipes.core.member.facts import Facts
from recipes.core.replication import Entry, Replica
from recipes.core.tree.acl import Ids, permits
from recipes.core.tree.prepare import Preparer, Request
from recipes.core.tree.sessions import SessionIds, SessionTracker, password_matches, session_password
from recipes.core.tree.tree import Applied, DataTree
from recipes.core.tree.znode import ttl_of


@dataclass(frozen=True, slots=True)
class MemberConfig:
    """What a member must know of a server's settings; times in ms, sizes in bytes."""

    tick_ms: int = 3000
    min_session_timeout_ms: int = 6000
    max_session_timeout_ms: int = 60000
    server_id: int = 1
    max_frame_bytes: int = 0xFFFFF
    extended_types: bool = False
    enforce_quota: bool = False
    super_digest: bytes | None = None
    session_secret: bytes | None = None
    four_letter_whitelist: tuple[str, ...] = ("srvr",)
    container_check_ms: int = 60000
    container_max_per_check: int = 10000
    settings: tuple[tuple[str, str], ...] = ()  # as the 4lw `conf` prints them
    environment: tuple[tuple[str, str], ...] = ()  # as the 4lw `envi` prints it


class Stats:
    """Counters for those who look after the server."""

    __slots__ = (
        "auth_failed", "latency_count", "latency_max_ms", "latency_min_ms", "latency_total_ms", "packets_received",
        "packets_sent", "sessions_expired",
    )  # fmt: skip

    def __init__(self) -> None:
        self.auth_failed = self.sessions_expired = 0
        self.reset()

    def reset(self) -> None:
        """Start the counts of packets and latency anew."""
        self.packets_received = self.packets_sent = 0
        self.latency_count = self.latency_max_ms = self.latency_min_ms = self.latency_total_ms = 0

    def answered(self, latency_ms: int) -> None:
        """A reply left, so many ms after its request came."""
        self.packets_sent += 1
        self.latency_count += 1
        if latency_ms:
            self.latency_total_ms += latency_ms
            if latency_ms > self.latency_max_ms:
                self.latency_max_ms = latency_ms


class Member:
    """One server of any role: connections, sessions, tree, and a Replica that orders the txns.

    tree: as recovered from the disk. replica: starts from the same zxid.
    now_ms, wall_ms: a clock that never goes back, and the one people read.
    """

    def __init__(self, config: MemberConfig, tree: DataTree, replica: Replica, now_ms: int, wall_ms: int) -> None:
        self.config = config
        self.tree = tree
        self.stats = Stats()
        self.now_ms = now_ms
        self.wall_ms = wall_ms
        self.started_ms = now_ms
        self.connections: dict[int, Connection] = {}
        self.by_session: dict[int, Connection] = {}
        self.tracker = SessionTracker(config.tick_ms)
        for session_id, timeout_ms in tree.sessions.items():
            self.tracker.add(session_id, timeout_ms, now_ms)
        self.disk_full = False
        self.facts = Facts()  # the shell replaces it by what knows more
        self.trace_mask = 306  # kept for those who set it; nothing is traced
        self._replica = replica
        self._preparer = Preparer(
            tree, self.tracker, extended_types=config.extended_types, enforce_quota=config.enforce_quota
        )
        self._session_ids = SessionIds(wall_ms, config.server_id)
        self._waiting: deque[Request] = deque()  # made here, not yet committed; in zxid order
        self._writes: list[Entry] = []
        self._touched: list[Connection] = []
        self._next_key = 0
        self._next_container_check_ms = now_ms + config.container_check_ms

    @property
    def role(self) -> str:
        """standalone, leader, follower or observer."""
        return self._replica.role

    @property
    def outstanding(self) -> int:
        """Requests taken in and not yet answered."""
        return len(self._waiting)

    # What the shell calls.

    def begin_turn(self, now_ms: int, wall_ms: int) -> None:
        """The time, once per turn."""
        self.now_ms = now_ms
        self.wall_ms = wall_ms

    def connect(self, address: tuple[str, int], ids: Ids = (), secure: bool = False) -> Connection:
        """A client has connected from `address` (host, port); `ids` it has shown already, by its certificate."""
        self._next_key += 1
        ip = ((b"ip", address[0].encode()),)
        connection = Connection(self, self._next_key, address, ip + ids, secure)
        self.connections[connection.key] = connection
        return connection

    def tick(self) -> None:
        """Do what is due: end sessions that were not heard from, remove containers and znodes past their TTL."""
        if self.disk_full:
            return
        for session_id in self.tracker.expired(self.now_ms):
            self.stats.sessions_expired += 1
            self._propose(Request(session_id, 0, op.CLOSE_SESSION, b""))
        if self.now_ms >= self._next_container_check_ms:
            self._next_container_check_ms = self.now_ms + self.config.container_check_ms
            self._check_containers()

    def no_space(self, full: bool) -> None:
        """The disk has no room for more txns, or has it again. Meanwhile reads go on and no session expires."""
        if self.disk_full and not full:
            self.tracker.rearm(self.now_ms)
        self.disk_full = full

    def take_writes(self) -> list[Entry]:
        """Entries to put on disk in this order; then call `flushed` with the last one's zxid."""
        self._advance()
        writes, self._writes = self._writes, []
        return writes

    def flushed(self, zxid: int) -> None:
        """Everything up to `zxid` is on disk."""
        self._replica.flushed(zxid)
        self._advance()

    def take_touched(self) -> list[Connection]:
        """Connections with something to send, or to be closed, since the last call."""
        touched, self._touched = self._touched, []
        for connection in touched:
            connection.touched = False
        return touched

    # What connections call.

    def touch(self, connection: Connection) -> None:
        """The connection has something for the shell."""
        if not connection.touched and not connection.closed:
            connection.touched = True
            self._touched.append(connection)

    def hear_from(self, session_id: int) -> None:
        """The session is alive."""
        self.tracker.touch(session_id, self.now_ms)

    def submit(self, request: Request) -> bool:
        """Take a write; False when there is no room for it on the disk."""
        if self.disk_full:
            return False
        self._propose(request)
        return True

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self.connections.pop(connection.key, None)
        if self.by_session.get(connection.session_id) is connection:
            del self.by_session[connection.session_id]
        self.tree.watches.forget(connection)

    def four_letter(self, word: bytes) -> bytes | None:
        """The answer to a four-letter word, or None when it is not one."""
        return four_letter(self, word)

    def open_session(self, connection: Connection, asked: ConnectRequest) -> None:
        """Carry out the handshake: a new session, or one that comes back."""
        config = self.config
        if asked.last_zxid > self.tree.last_zxid:
            connection.close()  # it has seen more than this server has: it must not go back in time
            return
        timeout_ms = min(max(asked.timeout_ms, config.min_session_timeout_ms), config.max_session_timeout_ms)
        if asked.session_id == 0:
            session_id = self._session_ids.next()
            connection.timeout_ms = timeout_ms
            request = Request(session_id, 0, op.CREATE_SESSION, pack_int(timeout_ms), (), connection, self.now_ms)
            if self.disk_full:
                connection.close()
                return
            self.tracker.add(session_id, timeout_ms, self.now_ms)
            self._propose(request)
            return
        session_id = asked.session_id
        known = session_id in self.tracker and not self.tracker.is_closing(session_id)
        if not (known and password_matches(session_id, asked.password, config.session_secret)):
            connection.refused()
            return
        older = self.by_session.get(session_id)
        if older is not None:
            older.close()
        self.tracker.add(session_id, timeout_ms, self.now_ms)
        self._attach(connection, session_id, timeout_ms)

    # Inside.

    def _attach(self, connection: Connection, session_id: int, timeout_ms: int) -> None:
        self.by_session[session_id] = connection
        connection.opened(session_id, timeout_ms, session_password(session_id, self.config.session_secret))

    def _propose(self, request: Request) -> None:
        entry = self._preparer.prepare(request, self.wall_ms)
        if request.op == op.CLOSE_SESSION:
            self.tracker.mark_closing(request.session_id)
        self._waiting.append(request)
        self._replica.propose(entry)

    def _advance(self) -> None:
        """Keep what is to be written, apply what is committed."""
        ready = self._replica.take_ready()
        self._writes += ready.writes
        if ready.commits:
            for entry in ready.commits:
                self._commit(entry)
            self._preparer.applied(ready.commits[-1].zxid)

    def _commit(self, entry: Entry) -> None:
        tree = self.tree
        txn = entry.txn
        if txn is None:
            txn, _ = decode_txn(entry.payload)
        applied = tree.apply(txn, entry.digest)
        if tree.fired:
            self._deliver()
        waiting = self._waiting
        if not waiting or waiting[0].zxid != entry.zxid:
            invariant(not waiting or waiting[0].zxid > entry.zxid, "a request was passed over")
            return
        request = waiting.popleft()
        kind = request.op
        if kind == op.CREATE_SESSION:
            connection = request.origin
            if isinstance(connection, Connection) and not connection.wants_close:
                self._attach(connection, request.session_id, connection.timeout_ms)
        elif kind == op.CLOSE_SESSION:
            self._end_session(request, applied)
        elif request.origin is not None:
            request.origin.complete(request, applied)  # type: ignore[attr-defined]

    def _deliver(self) -> None:
        """Tell the watchers, as far as they may read what it is about."""
        fired, self.tree.fired = self.tree.fired, []
        for watcher, kind, path, acl in fired:
            if isinstance(watcher, Connection) and not watcher.wants_close and permits(acl, op.READ, watcher.ids):
                watcher.notify(kind, path)

    def _end_session(self, request: Request, applied: Applied) -> None:
        session_id = request.session_id
        self._preparer.closed(session_id)
        if applied[0] == 0:
            self.tracker.remove(session_id)
        connection = self.by_session.get(session_id)
        if isinstance(request.origin, Connection):
            request.origin.complete(request, applied)
            request.origin.close()
        if connection is not None:
            connection.close()

    def _check_containers(self) -> None:
        """Propose the removal of empty containers that were used, and of childless znodes past their TTL."""
        tree = self.tree
        due = [path for path in tree.containers if tree.nodes[path].cversion > 0 and not tree.nodes[path].children]
        for path in tree.ttls:
            node = tree.nodes[path]
            ttl_ms = ttl_of(node.owner)
            if ttl_ms is not None and not node.children and self.wall_ms - node.mtime > ttl_ms:
                due.append(path)
        for path in due[: self.config.container_max_per_check]:
            self._propose(Request(0, 0, op.DELETE_CONTAINER, path))
