"""A client of the servers: it speaks ZooKeeper's protocol, one session that may move from server to server."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from recipes.core.errors import StoreError
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import pack_int
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import (
    ACL,
    ConnectRequest,
    Id,
    Stat,
    decode_connect_response,
    decode_reply_header,
    decode_stat,
    decode_watcher_event,
    encode_connect_request,
)
from recipes.core.sim.network import Side
from recipes.lab.served.text import zxid_text

if TYPE_CHECKING:
    from recipes.lab.served.world import ServedWorld

_FLAGS = {
    "persistent": op.PERSISTENT, "ephemeral": op.EPHEMERAL, "sequential": op.PERSISTENT_SEQUENTIAL,
    "ephemeral sequential": op.EPHEMERAL_SEQUENTIAL,
}  # fmt: skip
_PERMISSIONS = {"r": 1, "w": 2, "c": 4, "d": 8, "a": 16}
_EVENTS = {
    op.EVENT_CREATED: "created", op.EVENT_DELETED: "deleted", op.EVENT_DATA: "changed",
    op.EVENT_CHILDREN: "children changed",
}  # fmt: skip
_PING_MS = 10_000  # sessions that are shorter are kept alive by pings

Read = Callable[[bytes, int], Any]


class Request(NamedTuple):
    """One request, ready to be sent: opcode, body, and how its reply is read."""

    kind: int
    body: bytes
    read: Read


class _Pending(NamedTuple):
    call: int
    read: Read


# The operations that a scenario can have, each with the numbers of its arguments.
OPERATIONS: Mapping[str, tuple[int, ...]] = {
    "set": (2, 3), "get": (1,), "create": (2, 3, 4), "delete": (1, 2), "exists": (1,), "stat": (1,), "children": (1,),
    "sync": (1,), "watch": (1,), "watch children": (1,), "set acl": (2,), "connect": (0,), "close": (0,), "leave": (0,),
}  # fmt: skip


def why_no_call(operation: list[Any]) -> str:
    """Why servers do not take this operation; empty if they do."""
    name = operation[0] if operation else None
    if isinstance(name, str) and len(operation) - 1 in OPERATIONS.get(name, ()):
        return _wrong_argument(name, operation[2:])
    known = (f"{name} {' or '.join(map(str, counts))}" for name, counts in OPERATIONS.items())
    return f"{operation!r}: expected one of these, with so many arguments: {', '.join(known)}"


def _wrong_argument(name: str, more: list[Any]) -> str:
    """What is wrong with what follows the path; empty if nothing is."""
    version = more[1:2] if name == "set" else more[:1] if name == "delete" else []
    letters = more[2:3] if name == "create" else more[:1] if name == "set acl" else []
    for each in version:
        if not isinstance(each, int) or isinstance(each, bool) or not -1 <= each < 2**31:
            return f"{name}: version {each!r}: expected a number, -1 for any"
    for each in more[1:2] if name == "create" else []:
        if each not in tuple(_FLAGS):
            return f"create: {each!r}: expected one of {', '.join(_FLAGS)}"
    for each in letters:
        if not isinstance(each, str) or not set(each) <= _PERMISSIONS.keys():
            return f"{name}: permissions {each!r}: expected some of the letters {''.join(_PERMISSIONS)}"
    return ""


def path_of(name: str) -> bytes:
    """A znode: /a/b as it is, and a register x as /x."""
    return (name if name.startswith("/") else f"/{name}").encode()


def request_of(operation: list[Any]) -> Request:
    """The request of an operation."""
    name, path = operation[0], path_of(str(operation[1]))
    more = operation[2:]
    if name == "set":
        version = int(more[1]) if len(more) > 1 else -1
        return Request(op.SET_DATA, rq.encode_set_data(path, _data(more[0]), version), _version)
    if name == "create":
        flags = _FLAGS[more[1]] if len(more) > 1 else op.PERSISTENT
        acl = _acl(more[2]) if len(more) > 2 else _acl("rwcda")
        return Request(op.CREATE, rq.encode_create(path, _data(more[0]), acl, flags), _path)
    if name == "delete":
        return Request(op.DELETE, rq.encode_path_version(path, int(more[0]) if more else -1), _nothing)
    if name in ("get", "watch"):
        return Request(op.GET_DATA, rq.encode_path_watch(path, name == "watch"), _value)
    if name in ("children", "watch children"):
        return Request(op.GET_CHILDREN2, rq.encode_path_watch(path, name != "children"), _names)
    if name == "exists":
        return Request(op.EXISTS, rq.encode_path_watch(path, True), _version)
    if name == "stat":
        return Request(op.EXISTS, rq.encode_path_watch(path, False), _stat)
    if name == "set acl":
        return Request(op.SET_ACL, rq.encode_set_acl(path, _acl(more[0]), -1), _nothing)
    return Request(op.SYNC, rq.encode_path(path), _path)


def _acl(letters: str) -> list[ACL]:
    return [ACL(sum(_PERMISSIONS[each] for each in letters), Id("world", "anyone"))]


def _data(value: Any) -> bytes:
    return str(value).encode()


def _version(data: bytes, at: int) -> Any:
    return decode_stat(data, at)[0].version


def _path(data: bytes, at: int) -> Any:
    return rq.decode_path(data, at)[0].decode()


def _value(data: bytes, at: int) -> Any:
    return (rq.decode_data_stat(data, at)[0] or b"").decode()


def _names(data: bytes, at: int) -> Any:
    return sorted(name.decode() for name in rq.decode_children(data, at)[0])


def _nothing(data: bytes, at: int) -> Any:
    return None


def _stat(data: bytes, at: int) -> Any:
    stat: Stat = decode_stat(data, at)[0]
    return {
        "czxid": zxid_text(stat.czxid), "mzxid": zxid_text(stat.mzxid), "pzxid": zxid_text(stat.pzxid),
        "version": stat.version, "cversion": stat.cversion, "aversion": stat.aversion,
        "ephemeral": stat.ephemeral_owner != 0, "length": stat.data_length, "children": stat.num_children,
    }  # fmt: skip


class Client:
    """One client. site: its number in the network. at: the server that it is connected to, or connects to; 0: none."""

    def __init__(self, world: "ServedWorld", name: str, site: int, timeout_ms: int) -> None:
        self.name: str = name
        self.site: int = site
        self.at: int = 0
        self.ready: bool = False
        self._world = world
        self._timeout_ms = timeout_ms
        self._attempt = 0
        self._side: Side | None = None
        self._reader = FrameReader()
        self._session_id, self._password, self._last_zxid = 0, bytes(16), 0
        self._xid = 0
        self._wanted: deque[tuple[int, list[Any]]] = deque()
        self._pending: deque[_Pending] = deque()

    def call(self, call: int, sid: int, operation: list[Any]) -> None:
        """Make a call at this server; connect to it first, if need be."""
        if operation[0] == "leave":  # no word to the server, and no ping from now on
            self._attempt += 1
            self.ready, self._side, self.at = False, None, 0
            self._world.answer(self, call, "ok", None)
            return
        if self.at != sid or (self._side is None and not self._wanted):
            self.connect(sid)
        self._wanted.append((call, operation))
        if self.ready:
            self._send_wanted()

    def connect(self, sid: int) -> None:
        """Connect to this server, with the session that there is."""
        self._drop("the client has gone to another server")
        self._attempt += 1
        self.at, attempt = sid, self._attempt

        def connected(side: Side) -> None:
            if attempt != self._attempt:
                side.close()
                return
            self._side, self._reader = side, FrameReader()
            side.own(lambda data: self._receive(attempt, data), lambda: self._lost(attempt))
            asked = ConnectRequest(self._last_zxid, self._timeout_ms, self._session_id, self._password)
            side.send(frame(encode_connect_request(asked)))

        self._world.wires.dial(self.site, sid, "client", connected, lambda: self._lost(attempt))

    def _lost(self, attempt: int) -> None:
        if attempt == self._attempt:
            self._attempt += 1
            self._side = None
            self.at = 0
            self._drop("the connection is gone")

    def _drop(self, why: str) -> None:
        """Give up the connection: what was sent may or may not be done."""
        side, self._side, self.ready = self._side, None, False
        if side is not None:
            side.close()
        pending, self._pending = self._pending, deque()
        wanted, self._wanted = self._wanted, deque()
        for call, _ in pending:
            self._world.answer(self, call, "unknown", why)
        for call, _ in wanted:
            self._world.answer(self, call, "fail", why)

    def _send_wanted(self) -> None:
        while self._wanted and self._side is not None:
            call, operation = self._wanted.popleft()
            if operation[0] == "connect":
                self._world.answer(self, call, "ok", None)
                continue
            if operation[0] == "close":
                request = Request(op.CLOSE_SESSION, b"", _nothing)
            else:
                request = request_of(operation)
            self._pending.append(_Pending(call, request.read))
            self._xid += 1
            self._world.tracer.called(self.at, self._world.event_of(call))
            self._side.send(frame(pack_int(self._xid) + pack_int(request.kind) + request.body))

    def _ping(self, attempt: int) -> None:
        if attempt == self._attempt and self._side is not None and self.ready:
            self._side.send(frame(pack_int(op.PING_XID) + pack_int(op.PING)))
            self._world.timeline.after(self._timeout_ms * 333, self._ping, attempt)

    def _receive(self, attempt: int, data: bytes) -> None:
        for payload in self._reader.feed(data):
            if attempt != self._attempt:
                return
            if self.ready:
                self._take(payload)
            else:
                self._greeted(payload)

    def _greeted(self, payload: bytes) -> None:
        response = decode_connect_response(payload)
        if response.timeout_ms == 0:
            self._session_id, self._password, self._last_zxid = 0, bytes(16), 0
            self._world.note(self.at, f"{self.name} hears that its session has ended")
            self._lost(self._attempt)
            return
        self._session_id, self._password = response.session_id, response.password
        self.ready = True
        if self._timeout_ms < _PING_MS:
            self._ping(self._attempt)
        self._world.client_ready()
        self._send_wanted()

    def _take(self, payload: bytes) -> None:
        header, at = decode_reply_header(payload)
        if header.xid == op.NOTIFICATION_XID:
            event, _ = decode_watcher_event(payload, at)
            what = _EVENTS.get(event.type, str(event.type))
            self._world.note(self.at, f"{self.name} hears: {event.path.decode()} {what}")
            return
        if header.xid == op.PING_XID or not self._pending:
            return
        call, read = self._pending.popleft()
        self._last_zxid = max(self._last_zxid, header.zxid)
        if header.err:
            error = StoreError.by_code.get(header.err)
            said = error.__name__ if error is not None else header.err
            self._world.answer(self, call, "fail", said, zxid=zxid_text(header.zxid))
        else:
            self._world.answer(self, call, "ok", read(payload, at), zxid=zxid_text(header.zxid))
