"""Clients that speak raw frames: their sessions move between servers, they set watches again, and record each call."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from recipes.core.errors import InvariantBroken, WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import pack_int
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import (
    ACL,
    ConnectRequest,
    Id,
    decode_connect_response,
    decode_reply_header,
    decode_watcher_event,
    encode_connect_request,
)
from recipes.core.sim.chance import Random, between
from recipes.core.sim.checks import Ledger
from recipes.core.sim.histories import CHILD, DATA, EXIST, Call, Judge, Watches
from recipes.core.sim.network import Network, Side
from recipes.core.sim.timeline import Timeline

_OPEN = (ACL(op.ALL, Id("world", "anyone")),)
_STAT_BYTES = 68


class Operation(NamedTuple):
    """One planned step of a client.

    key: selects the path. number: makes written values unique. watch: set a watch; selects a variant in other kinds.
    """

    at_us: int
    client: int
    kind: str
    key: int
    number: int
    watch: bool


KINDS = (
    "create", "create ephemeral", "create sequential", "set", "set", "set if", "delete", "get", "get", "exists",
    "children", "multi", "sync get", "sync get", "close", "leave", "move",
)  # fmt: skip


class SimClient:
    """One client.

    site: its number in the network. servers: the servers it may connect to. timeout_ms: of its sessions.
    leader: returns the id of the current leader, 0 without one.
    history: every call but pings and setWatches, in the order sent. unknown: how many calls were never answered.
    expired: how often a server told it that its session had ended.
    abandoned: session id -> the time in µs at which the client left the session, closed it, or found it ended.
    """

    def __init__(
        self,
        site: int,
        timeline: Timeline,
        network: Network,
        chance: Random,
        ledger: Ledger,
        judge: Judge,
        servers: Sequence[int],
        timeout_ms: int,
        count: Callable[[str], None],
        leader: Callable[[], int],
    ) -> None:
        self.site = site
        self.history: list[Call] = []
        self.unknown: int = 0
        self.events: int = 0
        self.expired: int = 0
        self.abandoned: dict[int, int] = {}
        self.session_id: int = 0
        self.active = True
        self._timeline = timeline
        self._network = network
        self._chance = chance
        self._ledger = ledger
        self._judge = judge
        self._servers = servers
        self._timeout_ms = timeout_ms
        self._count = count
        self._leader = leader
        self._side: Side | None = None
        self._attempt = 0  # number of the current connection: callbacks of older ones are ignored
        self._greeted = False
        self._reader = FrameReader()
        self._password = bytes(16)
        self._last_zxid = 0
        self._relative_zxid = 0
        self._xid = 0
        self._heard_us = self._sent_us = 0
        self._pending: deque[Call] = deque()
        self._wanted: deque[Operation] = deque()
        self._watches = Watches(ledger.reference)
        self._versions: dict[bytes, int] = {}

    @property
    def idle(self) -> bool:
        """Nothing is left to be sent or answered, except recent pings."""
        since_us = self._timeline.now_us - self._timeout_ms * 333
        return not self._wanted and all(call.kind == op.PING and call.invoked_us > since_us for call in self._pending)

    @property
    def connected(self) -> bool:
        """Whether it has a connection with a session."""
        return self._greeted

    def start(self) -> None:
        """Connect, and stay connected."""
        self._connect()
        self._timeline.after(self._timeout_ms * 125, self._keep_alive)

    # Connections.

    def _connect(self) -> None:
        if not self.active:
            return
        self._attempt += 1
        attempt = self._attempt
        server = self._chance.choice(self._servers)

        def connected(side: Side) -> None:
            if attempt != self._attempt:
                side.close()
                return
            self._side, self._greeted, self._reader = side, False, FrameReader()
            side.own(lambda data: self._receive(attempt, data), lambda: self._lost(attempt))
            self._heard_us = self._timeline.now_us
            asked = ConnectRequest(self._last_zxid, self._timeout_ms, self.session_id, self._password)
            side.send(frame(encode_connect_request(asked)))

        self._network.dial(self.site, server, "client", connected, lambda: self._lost(attempt))
        self._timeline.after(self._timeout_ms * 500, self._give_up, attempt)

    def _give_up(self, attempt: int) -> None:
        """The time for the handshake is up."""
        if attempt == self._attempt and not self._greeted:
            self.hang_up()

    def _lost(self, attempt: int) -> None:
        if attempt == self._attempt:
            self._side = None
            self._disconnected()

    @property
    def is_connected(self) -> bool:
        """Whether a server has the other end of its connection."""
        return self._side is not None and not self._side.peer.closed

    def hang_up(self, silently: bool = False, away_us: int = 150_000) -> None:
        """Drop the connection, and make another within `away_us`. silently: the server does not notice."""
        side, self._side = self._side, None
        if side is not None and not silently:
            side.close()
        self._disconnected(away_us)

    def _disconnected(self, away_us: int = 150_000) -> None:
        self._attempt += 1
        self._greeted = False
        self.unknown += len(self._pending)
        self._pending.clear()
        self._timeline.after(between(self._chance, 1_000, away_us), self._reconnect, self._attempt)

    def _reconnect(self, attempt: int) -> None:
        if attempt == self._attempt:
            self._connect()

    def _forget_session(self) -> None:
        self.session_id, self._password, self._last_zxid = 0, bytes(16), 0
        self._watches = Watches(self._ledger.reference)

    def leave(self) -> None:
        """Abandon the session without closing it, and come back with a new one."""
        if self.session_id:
            self.abandoned[self.session_id] = self._timeline.now_us
        self._wanted.clear()
        self._forget_session()
        self.hang_up(silently=self._chance.randrange(2) == 0)

    def _keep_alive(self) -> None:
        if not self.active:
            return
        now_us, timeout_us = self._timeline.now_us, self._timeout_ms * 1000
        if self._greeted:
            if now_us - self._heard_us > timeout_us * 2 // 3:
                self.hang_up()
            elif now_us - self._sent_us >= timeout_us // 8:
                self._request(op.PING, b"", b"")
        self._timeline.after(timeout_us // 8, self._keep_alive)

    # Requests.

    def act(self, operation: Operation) -> None:
        """Carry out an operation, now or once there is a session."""
        if operation.kind == "leave":
            self._count("leave")
            self.leave()
        elif operation.kind == "move":
            self._count("move")
            if self._greeted:  # with requests under way, which may arrive after the session has moved
                for number in (operation.number + (1 << 20), operation.number + (1 << 21)):
                    self._send(operation._replace(kind="set", number=number))
            self.hang_up(silently=operation.watch, away_us=20_000)
        elif self._greeted:
            self._send(operation)
        else:
            self._wanted.append(operation)

    def _send(self, operation: Operation) -> None:
        kind, number, watch = operation.kind, operation.number, operation.watch
        path = b"/k%d" % operation.key if operation.key >= 0 else b"/q"
        value = b"%d" % number
        self._count(kind)
        if kind == "create":
            flags = op.PERSISTENT
            self._request(op.CREATE, path, rq.encode_create(path, value, _OPEN, flags))
        elif kind == "create ephemeral":
            self._request(op.CREATE2, path, rq.encode_create(path, value, _OPEN, op.EPHEMERAL))
        elif kind == "create sequential":
            path = b"/q/%d-" % number
            flags = op.EPHEMERAL_SEQUENTIAL if watch else op.PERSISTENT_SEQUENTIAL
            self._request(op.CREATE2, path, rq.encode_create(path, value, _OPEN, flags))
        elif kind == "set":
            self._request(op.SET_DATA, path, rq.encode_set_data(path, value, -1))
        elif kind == "set if":
            self._request(op.SET_DATA, path, rq.encode_set_data(path, value, self._versions.get(path, 0)))
        elif kind == "delete":
            self._request(op.DELETE, path, rq.encode_path_version(path, -1))
        elif kind == "get":
            self._request(op.GET_DATA, path, rq.encode_path_watch(path, watch), watch)
        elif kind == "exists":
            self._request(op.EXISTS, path, rq.encode_path_watch(path, watch), watch)
        elif kind == "children":
            parent = b"/q" if operation.key % 2 else b"/"
            self._request(op.GET_CHILDREN2, parent, rq.encode_path_watch(parent, watch), watch)
        elif kind == "multi":
            other = b"/k%d" % (operation.key + 1)
            parts = [
                (op.SET_DATA, rq.encode_set_data(path, value, -1)),
                (op.CREATE, rq.encode_create(other, value, _OPEN, op.PERSISTENT))
                if watch
                else (op.DELETE, rq.encode_path_version(other, -1)),
            ]
            self._request(op.MULTI, path, rq.encode_multi(parts))
        elif kind == "sync get":
            floor = self._judge.newest_seen
            self._request(op.SYNC, path, rq.encode_path(path), floor=floor)
            self._request(op.GET_DATA, path, rq.encode_path_watch(path, watch), watch, floor)
        elif kind == "close":
            self._request(op.CLOSE_SESSION, b"", b"")

    def _request(self, kind: int, path: bytes, body: bytes, watch: bool = False, floor: int = 0) -> None:
        if self._side is None:
            return
        if kind == op.PING:
            xid = op.PING_XID
        elif kind == op.SET_WATCHES:
            xid = op.SET_WATCHES_XID
        else:
            self._xid += 1
            xid = self._xid
        if kind in _LINEARIZABLE:
            floor = self._judge.newest_seen
        now_us = self._timeline.now_us
        call = Call(self.session_id, xid, kind, path, watch, now_us, floor)
        self._pending.append(call)
        if xid > 0:
            self.history.append(call)
        self._sent_us = now_us
        self._side.send(frame(pack_int(xid) + pack_int(kind) + body))

    # Answers.

    def _receive(self, attempt: int, data: bytes) -> None:
        if attempt != self._attempt:
            return
        for payload in self._reader.feed(data):
            self._heard_us = self._timeline.now_us
            if self._greeted:
                self._take_reply(payload)
            else:
                self._take_greeting(payload)
            if attempt != self._attempt:
                return

    def _take_greeting(self, payload: bytes) -> None:
        response = decode_connect_response(payload)
        if response.timeout_ms == 0:
            self._count("session expired")
            if self.session_id:
                self.expired += 1
                # It may be closing, or closed already; at the end of the run it must be over.
                self.abandoned.setdefault(self.session_id, self._timeline.now_us)
            self._forget_session()
            self.hang_up()
            return
        if self.session_id:
            self._count("session moved")
            if response.session_id != self.session_id:
                raise InvariantBroken(f"C3 session 0x{self.session_id:x} came back as 0x{response.session_id:x}")
        self.session_id, self._password = response.session_id, response.password
        self._greeted = True
        if self._watches.armed:
            self._count("setWatches")
            self._relative_zxid = self._last_zxid
            data, exist, child = (self._watches.paths(slot) for slot in (DATA, EXIST, CHILD))
            body = rq.encode_set_watches(self._last_zxid, data, exist, child)
            self._request(op.SET_WATCHES, b"", body)
        wanted, self._wanted = self._wanted, deque()
        for operation in wanted:
            self.act(operation)

    def _take_reply(self, payload: bytes) -> None:
        header, at = decode_reply_header(payload)
        if header.xid == op.NOTIFICATION_XID:
            event, _ = decode_watcher_event(payload, at)
            self.events += 1
            self._count("event")
            self._watches.fired(event.type, event.path, self._ledger.tip)
            return
        if not self._pending or self._pending[0].xid != header.xid:
            raise InvariantBroken(f"C5 a reply to {header.xid}, in wrong order")
        call = self._pending.popleft()
        call.returned_us, call.error, call.zxid = self._timeline.now_us, header.err, header.zxid
        if header.zxid < self._last_zxid:
            raise InvariantBroken(f"C3 a reply at 0x{header.zxid:x} behind one at 0x{self._last_zxid:x}")
        if self._side is not None and self._side.peer.site == self._leader():
            self._ledger.reference.heard[call.session_id] = call.invoked_us, self._timeout_ms * 1000
        if call.kind == op.PING:
            self._judge_ping(call)
        try:
            self._judge_reply(call, payload, at)
        except WireError as error:
            raise InvariantBroken(f"C1 a reply cannot be read: {error}") from error
        self._last_zxid = header.zxid
        if call.kind == op.SET_WATCHES:
            self._watches.restored(self._relative_zxid, header.zxid)
        else:
            self._watches.answered(header.zxid)
        if call.watch:
            self._watches.arm(call)
        if call.kind == op.CLOSE_SESSION:
            self.abandoned[call.session_id] = self._timeline.now_us
            self._forget_session()
            self.hang_up()

    def _judge_ping(self, call: Call) -> None:
        ended_us = self._ledger.reference.ended.get(call.session_id, call.invoked_us)
        late_us = call.invoked_us - ended_us
        # The learner reports the client to the leader with a delay, and learns of the session's end with a delay, which
        # grows with its disk's: it applies what it has on disk.
        delay_us = self._network.slowest_us + self._ledger.slowest_flush_us
        if late_us > self._timeout_ms * 250 + 2 * delay_us:
            raise InvariantBroken(f"E4 session 0x{call.session_id:x} is told {late_us} µs behind its end that it lives")

    def _judge_reply(self, call: Call, payload: bytes, at: int) -> None:
        path, stat, data = call.path, None, None
        names: list[bytes] = []
        if call.error == 0:
            if call.kind in (op.CREATE, op.CREATE2):
                path, at = rq.decode_path(payload, at)
            elif call.kind == op.GET_DATA:
                data, _, _ = rq.decode_data_stat(payload, at)
            elif call.kind == op.GET_CHILDREN2:
                names, _ = rq.decode_children(payload, at)
            if call.kind in _WITH_STAT:
                stat = payload[-_STAT_BYTES:]
                self._versions[path] = int.from_bytes(stat[32:36], "big")
        self._judge.judge(call, path, stat, data, names)


_LINEARIZABLE = frozenset((op.CREATE, op.CREATE2, op.SET_DATA, op.DELETE, op.MULTI, op.CLOSE_SESSION))
_WITH_STAT = frozenset((op.CREATE2, op.SET_DATA, op.GET_DATA, op.EXISTS, op.GET_CHILDREN2))
