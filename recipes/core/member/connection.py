"""One client connection: the handshake, its requests in order, its replies in order.

A session's requests take effect in order. A write is submitted at once; reads behind it are held until it is applied.
Everything behind a `sync` is held until the sync is answered. Source: NIOServerCnxn.java,
ZooKeeperServer.processConnectRequest.
"""

from collections import deque
from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING, Final

from recipes.core.codes import AUTH_FAILED, MARSHALLING_ERROR, SESSION_MOVED, UNIMPLEMENTED
from recipes.core.errors import WireError, invariant
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int, un_head, un_int
from recipes.core.jute.records import ConnectResponse, Ids, decode_connect_request, encode_connect_response
from recipes.core.jute.requests import read_auth
from recipes.core.member.answers import synced_path, why_no_frame, why_no_request, write_body
from recipes.core.member.costs import LARGE_MULTI_BYTES, write_units
from recipes.core.member.latencies import Latencies
from recipes.core.member.leading import WRITES
from recipes.core.member.reads import LARGE_BYTES, READS, SLICED_READS, Failed, is_long, plain_get
from recipes.core.tree.acl import authenticate
from recipes.core.tree.request import Request
from recipes.core.tree.tree import Applied

if TYPE_CHECKING:
    from recipes.core.member.member import Member

_pack_reply: Final = Struct(">iiqi").pack
_pack_event: Final = Struct(">iiqiiii").pack
_STATE_CONNECTED: Final = 3
_MAX_IDS: Final = 16
_MAX_HELD: Final = 1000
_MAX_HELD_READS: Final = 100  # all can become due at once
_LIGHT_WRITES: Final = WRITES - {op.MULTI, op.CLOSE_SESSION}
# A unit is about a microsecond of this server's time, such as the look at one znode.
MOST_UNITS: Final = 4000  # of one connection in one turn; what is behind them waits for later turns
_BYTES_PER_UNIT: Final = 256  # of a large reply
_UNTIL_TOLD: Final = 1 << 60  # in `_missing`: bytes wait for a sync or a job, however many come

HeldRead = tuple[int, int, bytes, Ids]  # xid, opcode, body, identities when it came


class Connection:
    """Bytes of one client in, bytes out.

    out: what to send, in order; the shell takes it and sends it with one write.
    events: how many items of `out` are watch events. wants_close: the shell is to close the socket once `out` is sent.
    why_closed: what was wrong with the client, for the operator; empty if nothing was.
    """

    __slots__ = (
        "_greeted", "_held", "_held_reads", "_job", "_left", "_limit_bytes", "_member", "_missing", "_parts",
        "_syncing", "_text", "_with_read_only", "address", "closed", "established_ms", "events", "ids", "key",
        "last_answer_ms", "last_op", "last_xid", "last_zxid", "latencies", "out", "packets_in", "packets_out",
        "secure", "session_id", "timeout_ms", "touched", "wants_close", "why_closed",
    )  # fmt: skip

    def __init__(self, member: "Member", key: int, address: tuple[str, int], ids: Ids, secure: bool) -> None:
        self._member = member
        self.key: int = key
        self.address: tuple[str, int] = address
        self.ids: Ids = ids
        self.secure: bool = secure
        self.session_id: int = 0
        self.timeout_ms: int = 0
        self.out: list[bytes] = []
        self.touched: bool = False
        self.wants_close: bool = False
        self.why_closed: str = ""
        self.closed: bool = False
        self.packets_in: int = 0
        self.packets_out: int = 0
        self.events: int = 0
        self.last_op: int = 0
        self.last_xid: int = 0
        self.last_zxid: int = 0
        self.last_answer_ms: int = 0  # when it was last sent anything, by the monotonic clock
        self.latencies: Latencies = Latencies()
        self.established_ms: int = member.wall_ms
        self._greeted = False
        self._with_read_only = True
        self._limit_bytes = member.config.max_frame_bytes
        self._text: Iterator[bytes] | None = None  # what is left of the answer to a four-letter word
        self._parts: list[bytes] = []
        self._missing = 0  # bytes that must come before `_parts` can be parsed
        self._left = 0  # units for the requests being parsed
        self._held: deque[Request | HeldRead] = deque()
        self._held_reads = 0  # in `_held`
        self._job: Iterator[int] | None = None  # a request in slices, each with its units; nothing behind it has begun
        self._syncing = False  # a sync is under way; nothing behind it has begun

    @property
    def queued(self) -> int:
        """Requests accepted and not yet answered."""
        return len(self._held)

    @property
    def paused(self) -> bool:
        """Whether the shell should read no more from this client for now, not even that it has hung up."""
        return len(self._held) >= _MAX_HELD or self.stopped

    @property
    def stopped(self) -> bool:
        """Whether something waits: requests for their session to be open, or anything for `go_on`."""
        if self._text is not None:
            return True
        parts = self._parts
        if not parts or 0 < self._missing < _UNTIL_TOLD >> 1:
            return False
        return self._missing <= 0 or self._job is not None or len(parts) > 1 or bool(parts[0])

    @property
    def has_work(self) -> bool:
        """Whether `go_on` has something to do."""
        if self._text is not None:
            return True
        if not self.session_id or self.wants_close or self._syncing or not self.stopped:
            return False
        return not self._held if self._job is not None else self._held_reads < _MAX_HELD_READS

    def receive(self, data: bytes) -> None:
        """Take in bytes from the socket, split anywhere."""
        if self.wants_close or self._text is not None:
            return
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._parts)
            self._parts = []
        if self.session_id:
            self._take_requests(data)
        else:
            self._greet(data)

    def go_on(self) -> None:
        """Go on with what waits for a later turn. The shell calls it once it has sent `out`, if there are bytes left.

        Parsing stops where requests have cost enough for one turn, and where `out` or `_held` is too full.
        """
        if not self.has_work:
            return
        if self._text is not None:
            self._say_more()
            return
        if self._job is not None:
            self._member.keep_session_alive(self)
            self._left = MOST_UNITS
            self._work()
            if self._job is not None:
                return
        self._resume()

    def lost(self) -> None:
        """The socket is closed: by the peer, or by the shell as this connection wanted."""
        self.closed = self.wants_close = True
        self._job = None
        self._held.clear()
        self.out.clear()
        self._member.forget(self)

    def close(self) -> None:
        """Hang up once `out` is sent. The session goes on."""
        self.wants_close = True
        self._member.touch(self)

    def _hang_up(self, why: str) -> None:
        """Hang up once `out` is sent. why: for the operator."""
        self.why_closed = why
        self.close()

    def notify(self, kind: int, path: bytes) -> None:
        """Send a watch event."""
        length = len(path)
        self.out.append(_pack_event(28 + length, op.NOTIFICATION_XID, -1, 0, kind, _STATE_CONNECTED, length) + path)
        self.events += 1
        self._member.touch(self)

    # What operators see of it.

    def reset_stats(self) -> None:
        """Count its packets and latencies anew."""
        self.packets_in = self.packets_out = 0
        self.latencies = Latencies()

    # The handshake.

    def _say_more(self) -> None:
        """Send the next piece of the answer to a four-letter word; hang up behind the last one."""
        piece = next(self._text, None) if self._text is not None else None
        if piece is None or self.wants_close:
            self._text = None
            self.close()
        else:
            self.out.append(piece)
            self._member.touch(self)

    def _greet(self, data: bytes) -> None:
        if len(data) < 4:
            self._keep(data, 4)
            return
        if self._greeted:  # the session is not on disk yet: its first requests wait
            self._keep(data, 0)
            return
        if data.startswith(b"stmk") and len(data) < 12:  # the one word with an argument
            self._keep(data, 12)
            return
        text = self._member.four_letter(data)
        if text is not None:
            self.packets_in += 1
            self._member.stats.packets_received += 1
            if isinstance(text, bytes):
                self.out.append(text)
                self.close()
            else:
                self._text = text
                self._say_more()
            return
        length = un_int(data, 0)[0]
        if not 0 <= length <= self._limit_bytes:
            self._hang_up(why_no_frame(data, length, self._limit_bytes))
            return
        if len(data) < 4 + length:
            self._keep(data, 4 + length)
            return
        try:
            asked = decode_connect_request(data[4 : 4 + length])
        except WireError as error:
            self._hang_up(f"its first request is none that opens a session: {error}")
            return
        self._greeted = True
        self._with_read_only = asked.has_read_only
        self.packets_in += 1
        rest = data[4 + length :]
        if rest:
            self._keep(rest, 0)
        self._member.handshakes.open_session(self, asked)

    def opened(self, session_id: int, timeout_ms: int, password: bytes) -> None:
        """This connection has its session: answer the handshake, and parse the requests that came behind it."""
        self.session_id = session_id
        self.timeout_ms = timeout_ms
        self._send_handshake(ConnectResponse(timeout_ms, session_id, password))
        if self._parts:
            self._resume()

    def refused(self, why: str = "") -> None:
        """There is no such session, or not with this password. why: for the operator, if it should not happen."""
        self._send_handshake(ConnectResponse(0, 0, bytes(16)))
        self._hang_up(why)

    def _send_handshake(self, response: ConnectResponse) -> None:
        payload = encode_connect_response(response, self._with_read_only)
        self.out.append(pack_int(len(payload)) + payload)
        self._member.touch(self)

    def _keep(self, data: bytes, wanted: int) -> None:
        """Keep bytes that can be parsed once there are `wanted` of them; 0: that wait for something else."""
        self._parts = [data]
        self._missing = wanted - len(data)

    # Requests.

    def _resume(self) -> None:
        data = b"".join(self._parts)
        self._parts = []
        self._take_requests(data)

    def _take_requests(self, data: bytes) -> None:
        at, size, limit, count = 0, len(data), self._limit_bytes, 0
        member, held, out = self._member, self._held, self.out
        tree = member.tree
        member.keep_session_alive(self)
        self._left = MOST_UNITS
        while size - at >= 12:
            length, xid, kind = un_head(data, at)
            end = at + 4 + length
            if not 8 <= length <= limit:
                self._hang_up(why_no_request(length, limit))
                break
            if end > size:
                break
            body = data[at + 12 : end]
            at = end
            count += 1
            if kind == op.GET_DATA and not held:  # by far the most frequent request, so it comes first
                reply = plain_get(tree, xid, body, self.ids)
                if reply is not None:
                    out.append(reply)
                    continue
            if kind == op.AUTH:
                self._authenticate(xid, body)
            else:
                self._take(xid, kind, body, self.ids)
            if self._left <= 0 or self.wants_close:
                break
        if count:
            if out and not self.touched:
                member.touch(self)
            self.packets_in += count
            self.last_op, self.last_xid = kind, xid
            member.stats.packets_received += count
            member.stats.bytes_received += at
        if self._left <= 0 and not self.wants_close:
            if self._job is not None or self._syncing:
                self._parts, self._missing = [data[at:]], _UNTIL_TOLD
            elif at < size:
                self._keep(data[at:], 0)
                member.touch(self)
        elif at < size and not self.wants_close:
            wanted = 4
            if size - at >= 4:
                length = un_int(data, at)[0]
                if not 8 <= length <= limit:
                    self._hang_up(why_no_request(length, limit))
                    return
                wanted += length
            self._keep(data[at:], wanted)

    def _take(self, xid: int, kind: int, body: bytes, ids: Ids) -> None:
        """Start a request, or hold it until its turn comes."""
        member, held = self._member, self._held
        if kind in _LIGHT_WRITES:
            request = Request(self.session_id, xid, kind, body, ids, self, member.now_ms)
            if member.submit(request):
                held.append(request)
                member.stats.updates += 1
            else:
                self.close()
        elif kind in WRITES:
            if len(body) > LARGE_MULTI_BYTES or (kind == op.CLOSE_SESSION and member.units_left <= 0):
                self._begin(self._write_alone(xid, kind, body, ids))
            else:
                member.units_left -= write_units(member.tree, kind, self.session_id, len(body))
                self._submit(xid, kind, body, ids)
        elif kind == op.SYNC:
            request = Request(self.session_id, xid, kind, body, ids, self, member.now_ms)
            held.append(request)
            # A write behind a sync could be committed before the sync is answered: nothing behind it is begun.
            self._syncing, self._left = True, 0
            member.sync(request)
        elif kind in SLICED_READS:
            self._begin(self._answer_in_slices(xid, kind, body, ids))
        elif kind == op.PING and not member.in_touch(self.timeout_ms):
            self.close()  # the session may have ended elsewhere: the client should try another server
        elif (held or member.units_left <= 0) and is_long(member.tree, kind, body):
            self._begin(self._answer_alone(xid, kind, body, ids))
        elif held:
            held.append((xid, kind, body, ids))
            self._held_reads += 1
            if self._held_reads >= _MAX_HELD_READS:
                self._left = 0
        else:
            self._answer(xid, kind, body, ids)

    def _submit(self, xid: int, kind: int, body: bytes, ids: Ids) -> None:
        request = Request(self.session_id, xid, kind, body, ids, self, self._member.now_ms)
        if self._member.submit(request):
            self._held.append(request)
            self._member.stats.updates += 1
        else:
            self.close()

    # Jobs: requests that begin once all before them are answered, and may take several turns.

    def _begin(self, job: Iterator[int]) -> None:
        self._job = job
        if self._held:
            self._left = 0
        else:
            self._work()

    def _work(self) -> None:
        """Do slices of the job, as many as this turn allows."""
        member = self._member
        if self._job is not None and member.units_left > 0:
            for units in self._job:
                self._left -= units
                member.units_left -= units
                if self._left <= 0 or member.units_left <= 0:
                    member.touch(self)
                    break
            else:
                self._job = None
        elif self._job is not None:
            member.postpone(self)
        if self._job is not None:
            self._left = 0

    def _write_alone(self, xid: int, kind: int, body: bytes, ids: Ids) -> Iterator[int]:
        units = write_units(self._member.tree, kind, self.session_id, len(body))
        self._submit(xid, kind, body, ids)
        yield units

    def _answer_alone(self, xid: int, kind: int, body: bytes, ids: Ids) -> Iterator[int]:
        self._answer(xid, kind, body, ids)
        yield 0

    def _answer_in_slices(self, xid: int, kind: int, body: bytes, ids: Ids) -> Iterator[int]:
        tree = self._member.tree
        try:
            reply = yield from SLICED_READS[kind](tree, self, ids, body)
        except Failed as failed:
            self._reply(xid, tree.last_zxid, failed.code, failed.body)
        except WireError:
            self._reply(xid, tree.last_zxid, MARSHALLING_ERROR)
        else:
            self._reply(xid, tree.last_zxid, 0, reply)

    def _answer(self, xid: int, kind: int, body: bytes, ids: Ids) -> None:
        """Carry out a read now."""
        tree = self._member.tree
        plain = plain_get(tree, xid, body, ids) if kind == op.GET_DATA else None
        if plain is not None:
            self.out.append(plain)
            if not self.touched:
                self._member.touch(self)
            return
        read = READS.get(kind)
        if read is None:
            self._answer_other(xid, kind)
            return
        try:
            reply = read(tree, self, ids, body)
        except Failed as failed:
            self._reply(xid, tree.last_zxid, failed.code, failed.body)
        except WireError:
            self._reply(xid, tree.last_zxid, MARSHALLING_ERROR)
        else:
            self._reply(op.PING_XID if kind == op.PING else xid, tree.last_zxid, 0, reply)

    def _answer_other(self, xid: int, kind: int) -> None:
        if kind == op.SASL:  # not configured: an empty token ends the exchange
            self._reply(xid, 0, 0, pack_int(-1))
            return
        self._reply(xid, -1, UNIMPLEMENTED)
        self._hang_up(f"no request has the type {kind}")

    def _authenticate(self, xid: int, body: bytes) -> None:
        """Authenticate, and reply at once, ahead of earlier requests: it counts only for the requests behind it."""
        try:
            scheme, credentials, _ = read_auth(body, 0)
            new = authenticate(scheme, credentials, self.address[0].encode(), self._member.config.super_digest)
        except WireError:
            self._reply(xid, 0, MARSHALLING_ERROR)
            return
        if new is None or not self._has_room_for(new):
            self._member.stats.auth_failed += 1
            self._reply(xid, 0, AUTH_FAILED)
            self._hang_up("authentication failed")
            return
        self.ids += tuple(pair for pair in new if pair not in self.ids)
        self._reply(xid, 0, 0)

    def _has_room_for(self, new: Ids) -> bool:
        """Whether the identities can be sent on to the leader with every write."""
        ids = self.ids + new
        return len(ids) <= _MAX_IDS and sum(len(scheme) + len(ident) for scheme, ident in ids) <= self._limit_bytes

    def complete(self, request: Request, applied: Applied) -> None:
        """A write or sync of this connection is complete: answer it, and the reads held behind it."""
        if self.wants_close:  # the client takes the outcome for unknown; replies would be out of order by now
            self._member.stats.stale_replies += 1
            return
        held = self._held
        if not held or held.popleft() is not request:
            invariant(False, "replies out of order")
        err, path, node, parts = applied
        kind, zxid = request.op, request.zxid
        if err == SESSION_MOVED:  # the client is connected elsewhere: it must not use two connections
            self.close()
            return
        if kind == op.SYNC:
            err, path, zxid = *synced_path(request.body), self._member.tree.last_zxid
        self.last_zxid = zxid
        body = write_body(kind, path, node, parts) if err == 0 else b""
        latency_ms = self._member.now_ms - request.arrived_ms
        if latency_ms:
            self._member.stats.waited(latency_ms, kind == op.SYNC)
            self.latencies.count(latency_ms, request.cxid)
        self._reply(request.cxid, zxid, err, body)
        if kind == op.SYNC:
            self._syncing = False
            self._resume()
        while held and type(held[0]) is tuple and not self.wants_close:
            self._held_reads -= 1
            self._answer(*held.popleft())  # type: ignore[misc]

    def _reply(self, xid: int, zxid: int, err: int, body: bytes = b"") -> None:
        if len(body) > LARGE_BYTES:
            units = len(body) // _BYTES_PER_UNIT
            self._left -= units
            self._member.units_left -= units
        self.out.append(_pack_reply(16 + len(body), xid, zxid, err) + body)
        if not self.touched:
            self._member.touch(self)
