"""How the values of servers are written in a trace: zxids and txns as short texts."""

from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import Record, Txn, decode_txn
from recipes.core.replication import Entry

_NAMES = {
    op.CREATE: "create", op.CREATE2: "create", op.CREATE_CONTAINER: "create container", op.CREATE_TTL: "create ttl",
    op.DELETE: "delete", op.DELETE_CONTAINER: "delete", op.SET_DATA: "set", op.SET_ACL: "acl", op.CHECK: "check",
}  # fmt: skip

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


def entry_text(entry: Entry) -> str:
    """What an entry of the log does."""
    return txn_text(entry.txn if entry.txn is not None else decode_txn(entry.payload)[0])


def txn_text(txn: Txn) -> str:
    """What a txn does: set /x 5."""
    return record_text(txn[4], txn[5])


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
    data = f" {_plain(record[1])}" if kind in (op.CREATE, op.CREATE2, op.SET_DATA) and record[1] else ""
    return f"{name} {_plain(record[0])}{data}"


def _plain(data: bytes) -> str:
    return data[:40].decode("utf-8", "replace")
