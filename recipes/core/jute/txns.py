"""Transactions: the payloads of log records and PROPOSALs.

Serialised: a 32-byte header, a record by type, and (when the leader computes digests) a 12-byte trailer. A decoded
txn is a plain tuple `(session_id, cxid, zxid, time_ms, type, record)`, and a record a plain tuple by type:

    CREATE, CREATE2   (path, data, acl, ephemeral, parent_cversion)     DELETE, DELETE_CONTAINER  (path,)
    CREATE_CONTAINER  (path, data, acl, parent_cversion)                SET_DATA  (path, data, version)
    CREATE_TTL        (path, data, acl, parent_cversion, ttl_ms)        SET_ACL   (path, acl, version)
    CREATE_SESSION    (timeout_ms,)                                     CHECK     (path, version)
    CLOSE_SESSION     (paths,)  paths None in logs from before 3.6      ERROR     (code,)
    MULTI             a tuple of (type, record)

Versions are those after the txn. Source: zookeeper.jute, module txn; SerializeUtils.java.
"""

from functools import partial
from struct import Struct
from struct import error as StructError
from typing import Any, Final

from recipes.core.codes import MARSHALLING_ERROR
from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import (
    pack_int,
    pack_long,
    read_bool,
    read_buffer,
    read_int,
    read_long,
    read_string,
    read_strings,
    un_int,
    un_long,
    write_buffer,
    write_strings,
)
from recipes.core.jute.records import read_acl, write_acl

_HEADER: Final = Struct(">qiqqi")
_un_header: Final = _HEADER.unpack_from
_SET_TAIL: Final = Struct(">iiQ")  # of a SET_DATA: its version, and the digest's version and value
_un_set_tail: Final = _SET_TAIL.unpack_from
pack_set_tail: Final = _SET_TAIL.pack
pack_header: Final = _HEADER.pack  # session id, cxid, zxid, time in ms, type
_pack_create_tail: Final = Struct(">?i").pack
DIGEST: Final = Struct(">iQ")
DIGEST_VERSION: Final = 2
encode_digest: Final = partial(DIGEST.pack, DIGEST_VERSION)  # the trailer: the tree's digest after the txn

_SET_DATA: Final = op.SET_DATA  # looked up for every txn

Record = tuple[Any, ...]
Txn = tuple[int, int, int, int, int, Record]

# CREATE2 is written by 3.9 only, and 3.8 applies nothing of a multi that has one: our leader writes CREATE.
_SUB_TYPES: Final = frozenset(
    (op.CREATE, op.CREATE2, op.DELETE, op.SET_DATA, op.CHECK, op.CREATE_CONTAINER, op.DELETE_CONTAINER, op.CREATE_TTL,
     op.ERROR)
)  # fmt: skip


def payload_zxid(payload: bytes) -> int:
    """The zxid of a serialised txn."""
    zxid: int = un_long(payload, 12)[0]
    return zxid


def encode_txn(session_id: int, cxid: int, zxid: int, time_ms: int, kind: int, record: Record) -> bytes:
    """A serialised txn, without a digest."""
    return pack_header(session_id, cxid, zxid, time_ms, kind) + encode_record(kind, record)


def blank_txn(zxid: int) -> bytes:
    """A txn that changes nothing, for a zxid without a txn."""
    return encode_txn(0, 0, zxid, 0, op.ERROR, (MARSHALLING_ERROR,))


def encode_record(kind: int, record: Record) -> bytes:
    """A record without the header; the parts of a multi also have this form."""
    if kind == op.SET_DATA:
        path, data, version = record
        return write_buffer(path) + write_buffer(data) + pack_int(version)
    if kind in (op.CREATE, op.CREATE2):
        path, data, acl, ephemeral, parent_cversion = record
        head = write_buffer(path) + write_buffer(data) + write_acl(acl)
        return head + _pack_create_tail(ephemeral, parent_cversion)
    if kind == op.CREATE_CONTAINER:
        path, data, acl, parent_cversion = record
        return write_buffer(path) + write_buffer(data) + write_acl(acl) + pack_int(parent_cversion)
    if kind == op.CREATE_TTL:
        path, data, acl, parent_cversion, ttl_ms = record
        head = write_buffer(path) + write_buffer(data) + write_acl(acl)
        return head + pack_int(parent_cversion) + pack_long(ttl_ms)
    if kind in (op.DELETE, op.DELETE_CONTAINER):
        return write_buffer(record[0])
    if kind == op.SET_ACL:
        return write_buffer(record[0]) + write_acl(record[1]) + pack_int(record[2])
    if kind == op.CHECK:
        return write_buffer(record[0]) + pack_int(record[1])
    if kind in (op.CREATE_SESSION, op.ERROR):
        return pack_int(record[0])
    if kind == op.CLOSE_SESSION:
        return b"" if record[0] is None else write_strings(record[0])
    if kind == op.MULTI:
        return pack_int(len(record)) + b"".join([encode_part(sub, inner) for sub, inner in record])
    raise WireError(f"txn of unknown type {kind}")


def encode_part(kind: int, record: Record) -> bytes:
    """One part of a multi, as it stands in the multi's record."""
    return pack_int(kind) + write_buffer(encode_record(kind, record))


def decode_txn(payload: bytes) -> tuple[Txn, int | None]:
    """A serialised txn, and the digest of its trailer or None. Raises WireError."""
    try:
        session_id, cxid, zxid, time_ms, kind = _un_header(payload)
        if kind == _SET_DATA:  # a fast path: setData is the most frequent write
            path_end = 36 + un_int(payload, 32)[0]
            at = path_end + 4
            end = at + un_int(payload, path_end)[0]
            if 36 <= path_end and at <= end == len(payload) - 16:
                version, mark, value = _un_set_tail(payload, end)
                record: Record = (payload[36:path_end], payload[at:end], version)
                return (session_id, cxid, zxid, time_ms, kind, record), value if mark == DIGEST_VERSION else None
    except StructError:
        if len(payload) < _HEADER.size:
            raise WireError(f"txn header needs 32 bytes, got {len(payload)}") from None
    if kind == op.CHECK:
        raise WireError("a check cannot stand outside a multi")
    record, at = _read_record(kind, payload, 32)
    digest: int | None = None
    if len(payload) - at >= 12:
        version, value = DIGEST.unpack_from(payload, at)
        digest = value if version == DIGEST_VERSION else None
    return (session_id, cxid, zxid, time_ms, kind, record), digest


def _read_record(kind: int, data: bytes, at: int) -> tuple[Record, int]:
    if kind in (op.SET_DATA, op.RECONFIG):
        path, at = read_string(data, at)
        content, at = read_buffer(data, at)
        version, at = read_int(data, at)
        return (path, content, version), at
    if kind in (op.CREATE, op.CREATE2, op.CREATE_CONTAINER, op.CREATE_TTL):
        return _read_create(kind, data, at)
    if kind in (op.DELETE, op.DELETE_CONTAINER):
        path, at = read_string(data, at)
        return (path,), at
    if kind == op.SET_ACL:
        path, at = read_string(data, at)
        acl, at = read_acl(data, at)
        version, at = read_int(data, at)
        return (path, acl, version), at
    if kind == op.CHECK:
        path, at = read_string(data, at)
        version, at = read_int(data, at)
        return (path, version), at
    if kind in (op.CREATE_SESSION, op.ERROR):
        value, at = read_int(data, at)
        return (value,), at
    if kind == op.CLOSE_SESSION:
        # Before 3.6 the record was empty, and such logs have no digests. So any bytes behind the header are the paths.
        if at == len(data):
            return (None,), at
        paths, at = read_strings(data, at)
        return (None if paths is None else tuple(paths),), at
    if kind == op.MULTI:
        return _read_multi(data, at)
    raise WireError(f"txn of unknown type {kind}")


def _read_create(kind: int, data: bytes, at: int) -> tuple[Record, int]:
    path, at = read_string(data, at)
    content, at = read_buffer(data, at)
    acl, at = read_acl(data, at)
    if kind in (op.CREATE, op.CREATE2):
        ephemeral, at = read_bool(data, at)
        if at == len(data):  # CreateTxnV0, from before 3.4
            return (path, content, acl, ephemeral, -1), at
        parent_cversion, at = read_int(data, at)
        return (path, content, acl, ephemeral, parent_cversion), at
    parent_cversion, at = read_int(data, at)
    if kind == op.CREATE_CONTAINER:
        return (path, content, acl, parent_cversion), at
    ttl_ms, at = read_long(data, at)
    return (path, content, acl, parent_cversion, ttl_ms), at


def _read_multi(data: bytes, at: int) -> tuple[Record, int]:
    try:
        count = un_int(data, at)[0]
    except StructError:
        raise WireError("multi txn ends early") from None
    at += 4
    if count * 8 > len(data) - at:
        raise WireError(f"multi txn of {count} parts in {len(data) - at} bytes")
    parts = []
    for _ in range(count):
        kind, at = read_int(data, at)
        if kind not in _SUB_TYPES:
            raise WireError(f"multi txn with a part of type {kind}")
        body, at = read_string(data, at)
        parts.append((kind, _read_record(kind, body, 0)[0]))
    return tuple(parts), at
