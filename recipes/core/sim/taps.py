"""Observes what servers send each other, and checks it against the sender's disk at that moment."""

from collections.abc import Iterable
from struct import Struct

from recipes.core.jute import quorum as q
from recipes.core.jute import votes as v
from recipes.core.sim.checks import Ledger
from recipes.core.zxid import epoch_of

_HEAD = Struct(">iqi")
_INT = Struct(">i")
_SNAP_END = b"BenWasHere"


class Tap:
    """Observes what one server sends over one connection of the quorum port.

    counts: name of a packet type -> how often it was sent.
    """

    __slots__ = ("_counts", "_in_dump", "_ledger", "_sid", "_synced")

    def __init__(self, ledger: Ledger, sid: int, counts: dict[str, int]) -> None:
        self._ledger = ledger
        self._sid = sid
        self._counts = counts
        self._in_dump = False
        self._synced = 0  # the epoch whose NEWLEADER went over this connection

    def sent(self, data: bytes) -> None:
        """Check bytes that the server sends: whole packets, or a part of a tree."""
        if self._in_dump:
            self._in_dump = not data.endswith(_SNAP_END)
            return
        at, size = 0, len(data)
        while at < size:
            kind, zxid, length = _HEAD.unpack_from(data, at)
            body_at = at + 16
            at = body_at + max(length, 0)
            ids = _INT.unpack_from(data, at)[0]
            at += 4
            for _ in range(2 * max(ids, 0)):
                at += 4 + _INT.unpack_from(data, at)[0]
            self._look(kind, zxid, data[body_at : body_at + 4])
            if kind == q.SNAP:
                self._in_dump = True

    def _look(self, kind: int, zxid: int, body: bytes) -> None:
        name = q.packet_name(kind)
        self._counts[name] = self._counts.get(name, 0) + 1
        ledger, sid = self._ledger, self._sid
        if kind == q.ACK:
            ledger.acknowledged(sid, zxid)
        elif kind in (q.COMMIT, q.INFORM):
            if epoch_of(zxid) == self._synced:
                ledger.committed(sid, zxid)
        elif kind == q.ACKEPOCH:
            ledger.acknowledged_epoch(sid, zxid, _INT.unpack(body)[0])
        elif kind == q.LEADERINFO:
            ledger.offered(sid, epoch_of(zxid))
        elif kind == q.SNAP:
            ledger.dumps(sid, zxid)
        elif kind == q.NEWLEADER:
            self._synced = epoch_of(zxid)
            ledger.synchronizes(sid, epoch_of(zxid))


def look_at_votes(
    ledger: Ledger, sid: int, votes: Iterable[tuple[int, v.Notification]], counts: dict[str, int]
) -> None:
    """Check and count the votes that one server sends."""
    for _, note in votes:
        name = STATE_NAMES[note.state]
        counts[name] = counts.get(name, 0) + 1
        if note.state == v.LOOKING and note.leader == sid:
            ledger.voted(sid, note.zxid, note.peer_epoch)


STATE_NAMES = {v.LOOKING: "LOOKING", v.FOLLOWING: "FOLLOWING", v.LEADING: "LEADING", v.OBSERVING: "OBSERVING"}
