"""Records that many messages share (zookeeper.jute, modules data and proto), and the handshake's two records."""

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

from recipes.core.errors import WireError
from recipes.core.jute.codec import (
    NULL,
    pack_int,
    read_buffer,
    read_int,
    read_string,
    read_vector,
    text,
    write_bool,
    write_buffer,
)
from recipes.core.jute.opcodes import ALL

STAT: Final = Struct(">qqqqiiiqiiq")
_REPLY_HEADER: Final = Struct(">iqi")
_CONNECT_REQUEST: Final = Struct(">iqiq")
_CONNECT_RESPONSE: Final = Struct(">iiq")

AclEntry = tuple[int, bytes, bytes]  # perms, scheme, id: the core's form of an ACL entry
OPEN_ACL: tuple[AclEntry, ...] = ((ALL, b"world", b"anyone"),)  # every open ACL that is read becomes this one object
_OPEN_ACL_BYTES: Final = b"\0\0\0\1" + pack_int(ALL) + write_buffer(b"world") + write_buffer(b"anyone")


class Stat(NamedTuple):
    """The metadata of a znode."""

    czxid: int  # zxid of its creation
    mzxid: int  # zxid of the last change of its data
    ctime: int  # ms since the epoch, by the leader's clock
    mtime: int
    version: int  # changes of the data
    cversion: int  # children created and deleted
    aversion: int  # changes of the ACL
    ephemeral_owner: int  # session id, 0 when not ephemeral
    data_length: int  # bytes
    num_children: int
    pzxid: int  # zxid of the last creation or deletion of a child


Ids = tuple[tuple[bytes, bytes], ...]  # (scheme, id) of each identity that a connection has proved


class Id(NamedTuple):
    """An identity: an authentication scheme and an id in that scheme."""

    scheme: str
    id: str


class ACL(NamedTuple):
    """The permissions of `id`. perms: a sum of READ 1, WRITE 2, CREATE 4, DELETE 8, ADMIN 16."""

    perms: int
    id: Id


un_reply_header: Final = _REPLY_HEADER.unpack_from  # xid, zxid and error code: 16 bytes


class ReplyHeader(NamedTuple):
    """The header of every reply."""

    xid: int  # of the request; -1 watch event, -2 pong
    zxid: int  # last zxid the server had applied
    err: int  # 0, or the code of a StoreError


class WatcherEvent(NamedTuple):
    """A watch event in its wire form."""

    type: int
    state: int
    path: bytes


class ConnectRequest(NamedTuple):
    """The first frame of a client."""

    last_zxid: int
    timeout_ms: int
    session_id: int  # 0 for a new session
    password: bytes
    read_only: bool = False
    has_read_only: bool = True  # False for a client older than 3.4, which neither sends nor expects that byte


class ConnectResponse(NamedTuple):
    """The answer to a ConnectRequest; a timeout of 0 means that the session has ended."""

    timeout_ms: int
    session_id: int
    password: bytes
    read_only: bool = False


def decode_stat(data: bytes, at: int) -> tuple[Stat, int]:
    """A Stat and the offset behind it."""
    try:
        return Stat._make(STAT.unpack_from(data, at)), at + 68
    except StructError:
        raise WireError(f"Stat needs 68 bytes at offset {at}, got {max(0, len(data) - at)}") from None


def encode_stat(stat: Stat) -> bytes:
    """68 bytes."""
    return STAT.pack(*stat)


def decode_reply_header(data: bytes) -> tuple[ReplyHeader, int]:
    """Return the header and the offset of the body."""
    if len(data) < 16:
        raise WireError(f"reply header needs 16 bytes, got {len(data)}")
    return ReplyHeader._make(_REPLY_HEADER.unpack_from(data)), 16


def read_acl_entry(data: bytes, at: int) -> tuple[AclEntry, int]:
    """One entry of an ACL. A null scheme or id becomes an empty one, which is invalid in an ACL."""
    perms, at = read_int(data, at)
    scheme, at = read_buffer(data, at)
    ident, at = read_buffer(data, at)
    return (perms, scheme or b"", ident or b""), at


def read_acl(data: bytes, at: int) -> tuple[tuple[AclEntry, ...] | None, int]:
    """An ACL in the core's form; None for null."""
    if data.startswith(_OPEN_ACL_BYTES, at):  # nearly every ACL
        return OPEN_ACL, at + len(_OPEN_ACL_BYTES)
    entries, at = read_vector(data, at, read_acl_entry, smallest=12)
    return None if entries is None else tuple(entries), at


def write_acl(acl: Iterable[AclEntry] | None) -> bytes:
    """An ACL from the core's form."""
    if acl is None:
        return NULL
    if acl is OPEN_ACL:
        return _OPEN_ACL_BYTES
    parts = [pack_int(perms) + write_buffer(scheme) + write_buffer(ident) for perms, scheme, ident in acl]
    return pack_int(len(parts)) + b"".join(parts)


def encode_acl(acl: Iterable[ACL]) -> bytes:
    """An ACL from the public form."""
    return _encoded_acl(tuple(acl))


@lru_cache(maxsize=256)  # a program uses few different ACLs, and every create carries one
def _encoded_acl(acl: tuple[ACL, ...]) -> bytes:
    return write_acl((perms, who.scheme.encode(), who.id.encode()) for perms, who in acl)


def decode_acl(data: bytes, at: int) -> tuple[list[ACL], int]:
    """An ACL in the public form."""
    entries, at = read_acl(data, at)
    return [ACL(perms, Id(text(scheme), text(ident))) for perms, scheme, ident in entries or ()], at


def decode_watcher_event(data: bytes, at: int) -> tuple[WatcherEvent, int]:
    """The body of a watch notification."""
    kind, at = read_int(data, at)
    state, at = read_int(data, at)
    path, at = read_string(data, at)
    return WatcherEvent(kind, state, path), at


def encode_connect_request(request: ConnectRequest) -> bytes:
    """The payload of the first frame."""
    head = _CONNECT_REQUEST.pack(0, request.last_zxid, request.timeout_ms, request.session_id)
    tail = write_bool(request.read_only) if request.has_read_only else b""
    return head + write_buffer(request.password) + tail


def decode_connect_request(data: bytes) -> ConnectRequest:
    """Read the first frame of a client. Raises WireError."""
    if len(data) < 24:
        raise WireError(f"connect request needs 24 bytes and a password, got {len(data)}")
    _, last_zxid, timeout_ms, session_id = _CONNECT_REQUEST.unpack_from(data)
    password, at = read_buffer(data, 24)
    has_read_only = at < len(data)
    return ConnectRequest(
        last_zxid, timeout_ms, session_id, password or b"", has_read_only and data[at] != 0, has_read_only
    )


def encode_connect_response(response: ConnectResponse, with_read_only: bool = True) -> bytes:
    """The payload of the answer, without its last byte for a client older than 3.4."""
    head = _CONNECT_RESPONSE.pack(0, response.timeout_ms, response.session_id)
    return head + write_buffer(response.password) + (write_bool(response.read_only) if with_read_only else b"")


def decode_connect_response(data: bytes) -> ConnectResponse:
    """Read the answer, with or without the last byte. Raises WireError."""
    if len(data) < 16:
        raise WireError(f"connect response needs 16 bytes and a password, got {len(data)}")
    _, timeout_ms, session_id = _CONNECT_RESPONSE.unpack_from(data)
    password, at = read_buffer(data, 16)
    return ConnectResponse(timeout_ms, session_id, password or b"", at < len(data) and data[at] != 0)
