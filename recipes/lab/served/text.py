"""How the values of servers are written in a trace: zxids and txns as short texts."""

from collections.abc import Callable
from zlib import crc32

from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import Record, Txn, decode_txn
from recipes.core.replication import Entry

_NAMES = {
    op.CREATE: "create", op.CREATE2: "create", op.CREATE_CONTAINER: "create container", op.CREATE_TTL: "create ttl",
    op.DELETE: "delete", op.DELETE_CONTAINER: "delete", op.SET_DATA: "set", op.SET_ACL: "acl", op.CHECK: "check",
}  # fmt: skip

_SHOWN = (op.CREATE, op.CREATE2, op.SET_DATA)  # their data are part of the text
_WITH_DATA = (*_SHOWN, op.CREATE_CONTAINER, op.CREATE_TTL)

_REQUESTS = {
    op.CREATE_SESSION: "open session", op.CLOSE_SESSION: "close session", op.SYNC: "sync", op.MULTI: "multi",
    op.SET_ACL: "acl",
}  # fmt: skip


def operation_name(kind: int) -> str:
    """The name of a client's request."""
    return _REQUESTS.get(kind) or _NAMES.get(kind) or f"op {kind}"


def zxid_text(zxid: int) -> str:
    """A zxid as it is printed everywhere else; "none" where a server's log cannot be relied on."""
    return "none" if zxid < 0 else f"0x{zxid:x}"


def entry_text(entry: Entry, text: Callable[[Txn], str] | None = None) -> str:
    """What an entry of the log does. text: says it; txn_text if not given."""
    return (text or txn_text)(entry.txn if entry.txn is not None else decode_txn(entry.payload)[0])


def txn_text(txn: Txn) -> str:
    """What a txn does: set /x 5."""
    return record_text(txn[4], txn[5])


def outline(txn: Txn) -> str:
    """The same without what clients store: set /x, 5 bytes, and a checksum that tells one txn from another.

    The checksum is of the session's id too, which nobody who reads this knows: it helps nobody to guess the data.
    """
    session_id, cxid, _, time_ms, kind, record = txn
    return f"{_record_outline(kind, record)} #{crc32(repr((session_id, cxid, time_ms, record)).encode()):08x}"


def _record_outline(kind: int, record: Record) -> str:
    if kind == op.MULTI:
        return "multi: " + "; ".join(_record_outline(*part) for part in record)
    if kind not in _WITH_DATA:
        return record_text(kind, record)
    return f"{_NAMES[kind]} {_plain(record[0])}, {len(record[1] or b'')} bytes"


def record_text(kind: int, record: Record) -> str:
    """What one record does."""
    if kind == op.MULTI:
        return "multi: " + "; ".join(record_text(*part) for part in record)
    if kind == op.CREATE_SESSION:
        return "open session"
    if kind == op.CLOSE_SESSION:
        return "close session"
    if kind == op.ERROR:
        return "nothing"
    name = _NAMES.get(kind, f"op {kind}")
    data = f" {_plain(record[1])}" if kind in _SHOWN and record[1] else ""
    return f"{name} {_plain(record[0])}{data}"


def _plain(data: bytes) -> str:
    return data[:40].decode("utf-8", "replace")
