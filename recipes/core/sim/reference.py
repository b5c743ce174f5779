"""The state of the store at every zxid: the committed txns, applied to a separate tree."""

from bisect import bisect_right
from typing import NamedTuple

from recipes.core import paths
from recipes.core.errors import InvariantBroken
from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import Record, Txn, decode_txn
from recipes.core.tree.tree import RESERVED, DataTree
from recipes.core.tree.znode import pack_stat


class ReadResult(NamedTuple):
    """A znode as a read at some zxid shows it. stat: its 68 bytes; None if there is no znode."""

    zxid: int
    stat: bytes | None
    data: bytes | None
    children: tuple[bytes, ...]
    mzxid: int
    pzxid: int


class Committed(NamedTuple):
    """One txn in the committed order. error: the code its client gets."""

    zxid: int
    at_us: int
    session_id: int
    cxid: int
    kind: int
    record: Record
    error: int


_NOTHING = ReadResult(0, None, None, (), 0, 0)


class Reference:
    """The committed txns in order, the tree they make, and the state of each path at each zxid.

    digests: zxid -> digest of the tree after that txn. by_request: (session, cxid) -> the txn of that request.
    heard: session -> (time, timeout) in µs. The time is when its client sent a request that the leader answered.
    ended: session -> the time of its end, in µs.
    """

    def __init__(self) -> None:
        self.heard: dict[int, tuple[int, int]] = {}
        self.ended: dict[int, int] = {}
        self._last_cxids: dict[int, int] = {}
        self.tree: DataTree = DataTree()
        self.order: list[Committed] = []
        self.digests: dict[int, int] = {0: self.tree.digest}
        self.by_request: dict[tuple[int, int], Committed] = {}
        self._paths: dict[bytes, list[ReadResult]] = {path: [self._look(path, 0)] for path in self.tree.nodes}

    def apply(self, payload: bytes, at_us: int) -> None:
        """Apply the next committed txn. Raises InvariantBroken if it breaks a property that is checked here."""
        txn, claimed = decode_txn(payload)
        session_id, cxid, zxid, _, kind, record = txn
        tree = self.tree
        self._check_session(txn, at_us)
        touched = list(self._touched(session_id, kind, record))
        tree.apply(txn)
        tree.fired.clear()
        if kind == op.CLOSE_SESSION:
            self.ended[session_id] = at_us
        if kind == op.CLOSE_SESSION and any(node.owner == session_id for _, node in tree.items()):
            raise InvariantBroken(f"E3 session 0x{session_id:x} has ended and left an ephemeral znode")
        if claimed is not None and claimed != tree.digest:
            raise InvariantBroken(f"Z13 txn 0x{zxid:x} makes digest {tree.digest:x}, its leader said {claimed:x}")
        self.digests[zxid] = tree.digest
        for path in touched:
            self._paths.setdefault(path, []).append(self._look(path, zxid))
        error = record[0] if kind == op.ERROR else 0
        committed = Committed(zxid, at_us, session_id, cxid, kind, record, error)
        self.order.append(committed)
        if cxid:
            if (session_id, cxid) in self.by_request:
                raise InvariantBroken(f"C8 request {cxid} of session 0x{session_id:x} was carried out twice")
            self.by_request[session_id, cxid] = committed

    def compare(self, sid: int, tree: DataTree) -> None:
        """Compare this tree in every field with the tree of a server that has applied all committed txns."""
        ours = self.tree
        for path, node in ours.items():
            other = tree.find(path)
            same = other is not None and pack_stat(other) == pack_stat(node) and other.data == node.data
            if path not in RESERVED and (not same or other is None or other.acl != node.acl):
                raise InvariantBroken(f"Z13 {path!r} is not the same on server {sid}")
        if tree.count != ours.count:
            raise InvariantBroken(f"Z13 server {sid} has znodes that nobody created")
        if tree.sessions != ours.sessions:
            raise InvariantBroken(f"Z13 server {sid} knows other sessions")
        if tree.ephemerals != ours.ephemerals:
            raise InvariantBroken(f"E3 server {sid} has other ephemeral znodes")

    def at(self, path: bytes, zxid: int) -> ReadResult:
        """What a read of `path` shows at `zxid`."""
        versions = self._paths.get(path, ())
        index = bisect_right(versions, zxid, key=_zxid)
        return versions[index - 1] if index else _NOTHING

    def changes(self, path: bytes, after_zxid: int, up_to_zxid: int) -> list[ReadResult]:
        """The states of `path` behind `after_zxid`, up to `up_to_zxid`, preceded by its state at `after_zxid`."""
        versions = self._paths.get(path, [])
        first = bisect_right(versions, after_zxid, key=_zxid)
        last = bisect_right(versions, up_to_zxid, key=_zxid)
        return [versions[first - 1] if first else _NOTHING, *versions[first:last]]

    def _check_session(self, txn: Txn, at_us: int) -> None:
        session_id, cxid, zxid, _, kind, _ = txn
        sessions = self.tree.sessions
        if kind == op.CLOSE_SESSION and cxid == 0 and session_id in self.heard:
            heard_us, timeout_us = self.heard[session_id]
            if at_us < heard_us + timeout_us * 19 // 20:
                raise InvariantBroken(f"E1 session 0x{session_id:x} is ended early, {at_us - heard_us} µs after a sign")
        if cxid and kind != op.ERROR:
            if cxid < self._last_cxids.get(session_id, 0):
                raise InvariantBroken(f"C5 request {cxid} of session 0x{session_id:x} was overtaken (0x{zxid:x})")
            self._last_cxids[session_id] = cxid
        if kind in (op.CREATE_SESSION, op.CLOSE_SESSION, op.ERROR) or session_id == 0:
            return
        if session_id not in sessions:
            raise InvariantBroken(f"E3 txn 0x{zxid:x} is of session 0x{session_id:x}, which is over")

    def _touched(self, session_id: int, kind: int, record: Record) -> dict[bytes, None]:
        found: dict[bytes, None] = {}
        if kind == op.MULTI:
            if any(inner == op.ERROR for inner, _ in record):
                return found
            for inner, part in record:
                found.update(self._touched(session_id, inner, part))
        elif kind == op.CLOSE_SESSION:
            for path in (*(record[0] or ()), *self.tree.ephemerals.get(session_id, ())):
                found[path] = found[paths.parent(path)] = None
        elif kind in (op.SET_DATA, op.SET_ACL):
            found[record[0]] = None
        elif kind not in (op.CREATE_SESSION, op.ERROR, op.CHECK):
            found[record[0]] = found[paths.parent(record[0])] = None
        return found

    def _look(self, path: bytes, zxid: int) -> ReadResult:
        node = self.tree.find(path)
        if node is None:
            return ReadResult(zxid, None, None, (), 0, 0)
        names = tuple(sorted(self.tree.children_names(path)))
        return ReadResult(zxid, pack_stat(node), node.data, names, node.mzxid, node.pzxid)


def _zxid(found: ReadResult) -> int:
    return found.zxid
