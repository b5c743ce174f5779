"""A client's session without sockets: pending calls, watches, and the time until which the session surely lives.

Replies come in the order of the requests, so a queue is enough to match them. Times are monotonic seconds and come in
as arguments. Source: ClientCnxn.java; the deadline is ours.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import partial
from struct import error as StructError
from typing import NamedTuple, Protocol

import anyio

from recipes.core.client.call import Call, Watcher
from recipes.core.codes import NO_NODE
from recipes.core.errors import AuthFailed, ConnectionLoss, RecipesError, SessionExpired, WireError, store_error
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_head
from recipes.core.jute.records import ConnectRequest, ConnectResponse, decode_watcher_event, un_reply_header
from recipes.core.jute.requests import encode_set_watches

OVER = "the session is over"
# The local deadline is this part of the session's timeout. Clocks may differ in rate by 5 %, and a holder must notice
# the end before the servers let the next one in.
SURE = 0.95
_MAX_XID = 0x7FFFFFFF
_SET_WATCHES_BYTES = 128 * 1024
_LONGEST_TIMEOUT = 60.0  # that a server may impose on a client that asked for less
# After this many connections in a row broke without a reply, requests are sent one at a time. A request that then
# breaks this many connections alone is the culprit.
_MOST_BREAKS = 2
_MOST_REFUSALS = 3  # connections in a row on which the server refused to set the watches again
_RESYNC = -2  # not on the wire
_EVENT_TABLES = {
    op.EVENT_CREATED: ("data", "exist"),
    op.EVENT_DATA: ("data", "exist"),
    op.EVENT_CHILDREN: ("child",),
    op.EVENT_DELETED: ("data", "exist", "child"),
}


class ConnectionState(Enum):
    """Where a client stands with its ensemble."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    READ_ONLY = "read-only"  # connected to a server without a leader, which answers only reads, with its last data
    SUSPENDED = "suspended"  # the connection is lost, the session may still live
    LOST = "lost"  # the session is over
    CLOSED = "closed"


CONNECTED = (ConnectionState.CONNECTED, ConnectionState.READ_ONLY)


class EventType(Enum):
    """The change that a watch saw."""

    CREATED = op.EVENT_CREATED
    DELETED = op.EVENT_DELETED
    DATA_CHANGED = op.EVENT_DATA
    CHILDREN_CHANGED = op.EVENT_CHILDREN
    RESYNC = _RESYNC  # the connection was lost and is back; changes before this may have been missed: read again


class WatchEvent(NamedTuple):
    """A watch fired."""

    type: EventType
    path: str


class Dependent(Protocol):
    """Something that ends with the session, such as a block that holds a lock."""

    def end(self, why: str) -> None:
        """The session is over, or about to be."""

    async def wait_left(self) -> None:
        """Return once the block that `end` cancelled has ended, if it can end while this waits."""


class Ending(Protocol):
    """Makes the error that says why a session is over: a new one for each pending call."""

    def __call__(self, *, path: str) -> RecipesError:
        """The error for the caller of a request about `path`."""
        ...


class Session:
    """A session's id, password and timeout, and everything that depends on the session.

    timeout: seconds, as negotiated. lost: the session is over, or may be by this process's clock; once set it stays,
    and `ending` says why. expires_at: monotonic time; until then the server cannot have ended it.
    final: no session follows it, even if the client renews. renew: called last at its end, unless `final`.
    read_only: a read-only server made it. Nothing depends on such a session, since it cannot write. So it does not
    expire, and the next server makes another in its place. connections: how many it had so far. answered, pongs: number
    of replies to requests and to pings. scopes: blocks to end with it, by key. shared: objects that the recipes of one
    client share, by key.
    """

    def __init__(self, timeout: float) -> None:
        self.id: int = 0
        self.password: bytes = bytes(16)
        self.timeout: float = timeout
        self.expires_at: float = float("inf")
        self.read_only: bool = False
        self.lost: bool = False
        self.final: bool = False
        self.renew: Callable[[], None] | None = None
        self.ending: Ending = SessionExpired
        self.lost_event: anyio.Event = anyio.Event()
        self.last_zxid: int = 0
        self.connections: int = 0
        self.answered: int = 0
        self.pongs: int = 0
        self.scopes: dict[object, Dependent] = {}
        self.shared: dict[object, object] = {}
        self.unsent: deque[Call] = deque()
        self._asked_timeout: float = timeout
        self._sent: deque[tuple[int, Call]] = deque()
        self._pings: deque[float] = deque()
        # Replies to auth packets come out of order, so these calls are not in `_sent`. None stands for credentials that
        # a new connection sends again.
        self._auths: deque[Call | None] = deque()
        self._next_xid: int = 1
        self._breaks: int = 0  # connections in a row that broke with requests under way, none of them answered
        self._refusals: int = 0
        self.watches: dict[str, dict[bytes, list[Watcher]]] = {
            table: {} for table in ("data", "exist", "child", "persistent", "recursive")
        }

    def greeting(self, read_only: bool) -> ConnectRequest:
        """The first packet of a connection. read_only: whether a read-only server may make the session."""
        session_id, password = (0, bytes(16)) if self.read_only else (self.id, self.password)
        return ConnectRequest(
            self.last_zxid, int(self.timeout * 1000), session_id, password, read_only and session_id == 0
        )

    def opened(self, response: ConnectResponse, asked_at: float) -> None:
        """A server accepted the greeting: the session was alive there at some moment after `asked_at`."""
        self.connections += 1
        self.read_only = response.read_only
        self.id, self.password = response.session_id, response.password
        # The client notices a dead server by this timeout, so it has an upper limit. Shorter than the server's is safe.
        self.timeout = min(response.timeout_ms / 1000, max(self._asked_timeout, _LONGEST_TIMEOUT))
        self.expires_at = float("inf") if self.read_only else asked_at + self.timeout * SURE

    def outgoing(self, now: float) -> bytes:
        """The frames of all unsent calls; of only one at a time while connections break without a reply."""
        parts = []
        alone = self._breaks >= _MOST_BREAKS
        while self.unsent:
            if alone and self._sent:
                break
            call = self.unsent.popleft()
            if call.abandoned:
                continue
            if call.op == op.AUTH:
                self._auths.append(call)
                parts.append(_frame(op.AUTH_XID, op.AUTH, call.body))
                continue
            xid = self._next_xid
            self._next_xid = 1 if xid == _MAX_XID else xid + 1
            call.sent_at = now
            self._sent.append((xid, call))
            parts.append(_frame(xid, call.op, call.body))
        return b"".join(parts)

    def take_back(self, call: Call) -> bool:
        """Drop the newest unsent call, if it is this one. Nothing that was asked behind it goes ahead of it so."""
        newest = bool(self.unsent) and self.unsent[-1] is call
        if newest:
            self.unsent.pop()
        return newest

    def credentials_sent(self, count: int) -> None:
        """A new connection began with this many credentials, whose replies come first."""
        self._auths.extend([None] * count)

    def ping(self, now: float) -> bytes:
        """A ping's frame."""
        self._pings.append(now)
        return _frame(op.PING_XID, op.PING, b"")

    def receive(self, payload: bytes) -> None:
        """Take in one frame from the server. Raises WireError."""
        try:
            xid, zxid, err = un_reply_header(payload)
        except StructError:
            raise WireError(f"reply header needs 16 bytes, got {len(payload)}") from None
        at = 16
        if xid == op.NOTIFICATION_XID:
            event, _ = decode_watcher_event(payload, at)
            self._fire(event.type, event.path)
            return
        if zxid > 0:
            self.last_zxid = zxid
        if xid == op.PING_XID:
            if self._pings:
                self.pongs += 1
                self._acknowledged(self._pings.popleft())
            return
        if xid == op.AUTH_XID:
            if err:
                self.end(partial(AuthFailed, message="the session's credentials"), final=True)
            elif self._auths:
                self.answered += 1
                if (shown := self._auths.popleft()) is not None:
                    shown.succeed(None)
            return
        if xid == op.SET_WATCHES_XID:
            if err:
                self._refuse_watches(err)
            self._refusals = 0
            return
        if not self._sent or self._sent[0][0] != xid:
            raise WireError(f"reply to request {xid}, which is not the next one")
        _, call = self._sent.popleft()
        self._breaks = 0
        self.answered += 1
        self._acknowledged(call.sent_at)
        self._settle(call, err, payload, at)

    def disconnected(self) -> None:
        """The connection is gone: send reads again, and fail writes already sent, whose outcome is unknown.

        Connections break because of a server in trouble, or because of a request that the server cannot handle. To tell
        these apart, requests are sent one at a time once two connections in a row broke without a reply. A request that
        breaks two more alone fails, so that it neither repeats for ever nor keeps others from being answered.
        """
        self._pings.clear()
        if self._sent:
            if self._breaks >= _MOST_BREAKS and len(self._sent) == 1:
                self._sent[0][1].breaks += 1
            self._breaks += 1
        again = []
        for call in filter(None, self._auths):
            call.breaks += 1
            if call.breaks >= 2 * _MOST_BREAKS:
                call.fail(
                    ConnectionLoss(f"the connection broke each of {call.breaks} times that credentials were sent")
                )
            else:
                again.append(call)
        self._auths.clear()
        while self._sent:
            _, call = self._sent.popleft()
            if call.breaks >= _MOST_BREAKS:
                why = f"the connection broke each of {self._breaks} times that this request was sent"
                call.fail(ConnectionLoss(why, path=call.path))
            elif call.reads:
                again.append(call)
            else:
                call.fail(ConnectionLoss(path=call.path, maybe_applied=True))
        self.unsent.extendleft(reversed(again))

    def give_up(self, asked_until: float, why: str) -> float | None:
        """Fail calls that wait since `asked_until` or longer; return since when the next call waits, None if none."""
        late = []
        while self.unsent and self.unsent[0].sent_at <= asked_until:
            late.append(self.unsent.popleft())
        since = self.unsent[0].sent_at if self.unsent else None
        for call in late:
            call.fail(ConnectionLoss(why, path=call.path))
        return since

    def end(self, ending: Ending, *, final: bool = False) -> None:
        """The session is over: end its scopes, fail pending calls, wake every watcher."""
        if self.lost:
            return
        self.lost = True
        self.final = final
        self.ending = ending
        self.lost_event.set()
        for scope in list(self.scopes.values()):
            scope.end(OVER)
        pending = (*(call for _, call in self._sent), *self._auths, *self.unsent)
        self._auths.clear()
        self._sent.clear()
        self.unsent.clear()
        for call in pending:
            if call is not None:
                call.fail(ending(path=call.path))
        for table in self.watches.values():
            for path, watchers in table.items():
                for watcher in watchers:
                    watcher.fire(op.EVENT_NONE, path)
            table.clear()
        if self.renew is not None and not final:
            self.renew()

    def restore(self) -> list[bytes]:
        """Frames that set all watches again on a new connection. Persistent ones get RESYNC: events may be lost."""
        rows = [(index, path) for index, table in enumerate(self.watches.values()) for path in table]
        kind = op.SET_WATCHES2 if any(index >= 3 for index, _ in rows) else op.SET_WATCHES
        frames, at = [], 0
        while at < len(rows):
            lists: list[list[bytes]] = [[], [], [], [], []]
            size = 0
            while at < len(rows) and (size == 0 or size + len(rows[at][1]) + 4 <= _SET_WATCHES_BYTES):
                index, path = rows[at]
                lists[index].append(path)
                size += len(path) + 4
                at += 1
            data, exist, child, persistent, recursive = lists
            body = (
                encode_set_watches(self.last_zxid, data, exist, child, persistent, recursive)
                if kind == op.SET_WATCHES2
                else encode_set_watches(self.last_zxid, data, exist, child)
            )
            frames.append(_frame(op.SET_WATCHES_XID, kind, body))
        for table in ("persistent", "recursive"):
            for path, watchers in self.watches[table].items():
                for watcher in watchers:
                    watcher.fire(_RESYNC, path)
        return frames

    def is_waiting(self) -> bool:
        """Whether a request is under way."""
        return bool(self._sent or self._auths)

    def awaited(self) -> set[bytes]:
        """The paths at which a request that is under way, or about to be, sets a watch."""
        calls = (*(call for _, call in self._sent), *self.unsent)
        return {call.watch[1] for call in calls if call.watch is not None and not call.abandoned}

    def remove_watch(self, table: str, path: bytes, watcher: Watcher) -> bool:
        """Forget a watcher; True when it was the last one at this path in this table."""
        watchers = self.watches[table].get(path, [])
        if watcher in watchers:
            watchers.remove(watcher)
        if not watchers:
            self.watches[table].pop(path, None)
        return not watchers

    def _refuse_watches(self, code: int) -> None:
        """A server refused to set the watches again: try others, but end the session after _MOST_REFUSALS."""
        self._refusals += 1
        if self._refusals >= _MOST_REFUSALS:
            self.end(partial(SessionExpired, f"the watches could not be set again: {store_error(code)}"))
        raise WireError(f"watches were not restored: {store_error(code)}")

    def _acknowledged(self, sent_at: float) -> None:
        """The session was alive at the server at some moment after `sent_at`."""
        if not self.read_only:
            self.expires_at = max(self.expires_at, sent_at + self.timeout * SURE)  # a pong can overtake a reply

    def _settle(self, call: Call, err: int, payload: bytes, at: int) -> None:
        if call.watch is not None and not call.abandoned and (err == 0 or (err == NO_NODE and call.op == op.EXISTS)):
            table, path, watcher = call.watch
            self.watches["exist" if err else table].setdefault(path, []).append(watcher)
        if err:
            error = store_error(err, call.path)
            call.fail(error)
            if isinstance(error, SessionExpired):
                self.end(SessionExpired)
        elif call.decode is None:
            call.succeed(None)
        else:
            try:
                value = call.decode(payload, at)
            except (WireError, StructError) as error:
                broken = WireError(f"reply to operation {call.op}: {error}")
                call.fail(broken)  # the call is out of the queue, so nothing else would wake its caller
                raise broken from error
            call.succeed(value)

    def _fire(self, kind: int, path: bytes) -> None:
        for table in _EVENT_TABLES.get(kind, ()):
            for watcher in self.watches[table].pop(path, ()):
                watcher.fire(kind, path)
        for watcher in list(self.watches["persistent"].get(path, ())):
            watcher.fire(kind, path)
        if self.watches["recursive"] and kind != op.EVENT_CHILDREN:
            for root, watchers in list(self.watches["recursive"].items()):
                if path == root or root == b"/" or path.startswith(root + b"/"):
                    for watcher in list(watchers):
                        watcher.fire(kind, path)


def _frame(xid: int, kind: int, body: bytes) -> bytes:
    return pack_head(len(body) + 8, xid, kind) + body
