"""Checks the promises to clients on each reply and event.

A reply has the last zxid that its server had applied, so it can be compared with the one order of committed txns. A
linearizable request must see everything that any client had seen before it was sent. The names C and W are those of
docs/simulation.md.
"""

from typing import NoReturn

from recipes.core.codes import NO_NODE
from recipes.core.errors import InvariantBroken
from recipes.core.jute import opcodes as op
from recipes.core.sim.reference import ReadResult, Reference

DATA, EXIST, CHILD = "data", "exist", "child"
_SLOTS = {
    op.EVENT_CREATED: (EXIST, DATA),
    op.EVENT_DELETED: (DATA, EXIST, CHILD),
    op.EVENT_DATA: (DATA, EXIST),
    op.EVENT_CHILDREN: (CHILD,),
}


class Call:
    """One request and its result.

    invoked_us, returned_us: when it was sent and answered; returned_us is -1 without an answer.
    floor: the newest zxid that any client had seen when the request was sent. For a read behind a sync: when the sync
        was sent. 0: no such bound.
    session_id, xid: identify the request. error: the code in the reply. zxid: of the reply.
    """

    __slots__ = (
        "error", "floor", "invoked_us", "kind", "path", "returned_us", "session_id", "watch", "xid", "zxid",
    )  # fmt: skip

    def __init__(self, session_id: int, xid: int, kind: int, path: bytes, watch: bool, now_us: int, floor: int) -> None:
        self.session_id: int = session_id
        self.xid: int = xid
        self.kind: int = kind
        self.path: bytes = path
        self.watch: bool = watch
        self.invoked_us: int = now_us
        self.returned_us: int = -1
        self.floor: int = floor
        self.error: int = 0
        self.zxid: int = 0


class Watches:
    """The watches of one session. armed: (slot, path) -> zxid of the reply that set or restored the watch."""

    def __init__(self, reference: Reference) -> None:
        self.armed: dict[tuple[str, bytes], int] = {}
        self._reference = reference

    def paths(self, slot: str) -> list[bytes]:
        """The paths with a watch in this slot."""
        return [path for each, path in self.armed if each == slot]

    def arm(self, call: Call) -> None:
        """A read with a watch was answered: arm the watch."""
        if call.kind == op.GET_CHILDREN2:
            slot = CHILD if call.error == 0 else None
        elif call.error == 0:
            slot = DATA
        else:
            slot = EXIST if call.kind == op.EXISTS and call.error == NO_NODE else None
        if slot is not None:
            self.armed[slot, call.path] = call.zxid

    def fired(self, kind: int, path: bytes, tip: int) -> None:
        """A watch event has arrived. tip: the last committed zxid."""
        slots = [slot for slot in _SLOTS[kind] if (slot, path) in self.armed]
        if not slots:
            _fail("W3", f"event {kind} at {path!r}, which was not asked for")
        since = min(self.armed.pop((slot, path)) for slot in slots)
        if len(self._reference.changes(path, since, tip)) < 2:
            _fail("W3", f"event {kind} at {path!r}, where nothing has happened since 0x{since:x}")

    def answered(self, zxid: int) -> None:
        """A reply shows the store at `zxid`: every event up to that zxid must have arrived before."""
        for (slot, path), since in self.armed.items():
            if since >= zxid:
                continue
            before, *later = self._reference.changes(path, since, zxid)
            for found in later:
                if _fires(slot, before, found):
                    _fail("W1", f"a reply at 0x{zxid:x} before the event at {path!r} (0x{found.zxid:x})")
                before = found

    def restored(self, relative_zxid: int, zxid: int) -> None:
        """setWatches was answered at `zxid`: the events of all changes behind `relative_zxid` must have arrived."""
        for (slot, path), since in self.armed.items():
            found = self._reference.at(path, zxid)
            missed = found.stat is None
            if slot == DATA:
                missed = missed or found.mzxid > relative_zxid
            elif slot == CHILD:
                missed = missed or found.pzxid > relative_zxid
            else:
                missed = not missed
            if missed and (slot == EXIST or since < found.zxid):
                _fail("W2", f"the watch at {path!r} of 0x{since:x} was lost on reconnecting at 0x{zxid:x}")
            self.armed[slot, path] = max(since, zxid)


def _fires(slot: str, before: ReadResult, found: ReadResult) -> bool:
    if slot == EXIST:
        return before.stat is None and found.stat is not None
    if found.stat is None:
        return before.stat is not None
    return found.mzxid != before.mzxid if slot == DATA else found.pzxid != before.pzxid


class Judge:
    """Compares the replies to clients with the committed txns.

    newest_seen: the highest zxid in any reply so far.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.newest_seen: int = 0

    def judge(self, call: Call, path: bytes, stat: bytes | None, data: bytes | None, names: list[bytes]) -> None:
        """Check a reply. path, stat, data, names: its content."""
        kind = call.kind
        if kind in _WRITES:
            self._judge_write(call, path, stat)
        elif kind in (op.GET_DATA, op.EXISTS, op.GET_CHILDREN2):
            self._judge_read(call, stat, data, names)
        elif kind == op.SYNC and call.error == 0 and call.zxid < call.floor:
            _fail("C2", f"a sync is answered at 0x{call.zxid:x}; 0x{call.floor:x} was seen before it was sent")
        self.newest_seen = max(self.newest_seen, call.zxid)

    def _judge_write(self, call: Call, path: bytes, stat: bytes | None) -> None:
        committed = self._reference.by_request.get((call.session_id, call.xid))
        if committed is None or committed.zxid != call.zxid:
            _fail("C1", f"request {call.xid} is answered with 0x{call.zxid:x}, and was not committed there")
        if call.zxid <= call.floor:
            _fail("C1", f"request {call.xid} became 0x{call.zxid:x}; 0x{call.floor:x} was seen before it was sent")
        if call.error != committed.error:
            _fail("C1", f"request {call.xid} is answered with {call.error}, committed was {committed.error}")
        if call.error:
            return
        found = self._reference.at(path, call.zxid)
        if call.kind == op.DELETE:
            if found.stat is not None:
                _fail("C1", f"{path!r} is there behind its deletion at 0x{call.zxid:x}")
        elif stat is not None and stat != found.stat:
            _fail("C1", f"request {call.xid} is answered with another Stat of {path!r} than 0x{call.zxid:x} left")

    def _judge_read(self, call: Call, stat: bytes | None, data: bytes | None, names: list[bytes]) -> None:
        if call.zxid < call.floor:
            _fail("C2", f"a read behind a sync shows 0x{call.zxid:x}; 0x{call.floor:x} was seen before the sync")
        found = self._reference.at(call.path, call.zxid)
        if stat != found.stat:
            _fail("C3", f"a read of {call.path!r} at 0x{call.zxid:x} shows another Stat than was committed")
        if call.kind == op.GET_DATA and data != found.data:
            _fail("C3", f"a read of {call.path!r} at 0x{call.zxid:x} shows {data!r}, committed was {found.data!r}")
        if call.kind == op.GET_CHILDREN2 and tuple(sorted(names)) != found.children:
            _fail("C3", f"the children of {call.path!r} at 0x{call.zxid:x} are not those committed")


_WRITES = frozenset((op.CREATE, op.CREATE2, op.SET_DATA, op.DELETE, op.MULTI))


def _fail(name: str, message: str) -> NoReturn:
    raise InvariantBroken(f"{name} {message}")
