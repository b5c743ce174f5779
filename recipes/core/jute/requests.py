"""Request bodies of every operation, and the reply bodies that the client reads.

`encode_*` make a request's body, `read_*` parse one, `decode_*` read a reply's body. The server packs each reply in the
function that decides it; see member/reads.py. Source: zookeeper.jute, proto.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from struct import error as StructError
from typing import Final

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
    write_bool,
    write_buffer,
    write_strings,
)
from recipes.core.jute.records import ACL, AclEntry, Stat, decode_acl, decode_stat, encode_acl, read_acl

_MULTI_HEADER: Final = Struct(">i?i")
MULTI_END: Final = _MULTI_HEADER.pack(-1, True, -1)

CreateRequest = tuple[bytes, bytes | None, "tuple[AclEntry, ...] | None", int, int]
MultiOp = tuple[int, bytes]  # opcode and body


def encode_create(path: bytes, data: bytes | None, acl: Sequence[ACL], flags: int, ttl_ms: int | None = None) -> bytes:
    """create, create2, createContainer; with `ttl_ms` createTTL."""
    body = write_buffer(path) + write_buffer(data) + encode_acl(acl) + pack_int(flags)
    return body if ttl_ms is None else body + pack_long(ttl_ms)


def read_create_request(data: bytes, at: int, with_ttl: bool = False) -> tuple[CreateRequest, int]:
    """path, data, ACL, flags and TTL in ms (-1 without one)."""
    path, at = read_string(data, at)
    content, at = read_buffer(data, at)
    acl, at = read_acl(data, at)
    flags, at = read_int(data, at)
    ttl_ms = -1
    if with_ttl:
        ttl_ms, at = read_long(data, at)
    return (path, content, acl, flags, ttl_ms), at


def encode_path_version(path: bytes, version: int) -> bytes:
    """delete, check."""
    return write_buffer(path) + pack_int(version)


def read_path_version(data: bytes, at: int) -> tuple[bytes, int, int]:
    """path, version and the offset behind; also for path and type of checkWatches, removeWatches, addWatch."""
    path, at = read_string(data, at)
    version, at = read_int(data, at)
    return path, version, at


def encode_path_watch(path: bytes, watch: bool) -> bytes:
    """exists, getData, getChildren, getChildren2."""
    return write_buffer(path) + write_bool(watch)


def read_path_watch(data: bytes, at: int) -> tuple[bytes, bool, int]:
    """path, whether to watch, and the offset behind."""
    path, at = read_string(data, at)
    watch, at = read_bool(data, at)
    return path, watch, at


def encode_path(path: bytes) -> bytes:
    """getACL, sync, getEphemerals, getAllChildrenNumber."""
    return write_buffer(path)


def encode_set_data(path: bytes, data: bytes | None, version: int) -> bytes:
    """setData."""
    return write_buffer(path) + write_buffer(data) + pack_int(version)


def read_set_data(data: bytes, at: int) -> tuple[bytes, bytes | None, int, int]:
    """path, data, expected version and the offset behind."""
    try:  # a fast path: setData is the most frequent write
        start = at + 4
        end = start + un_int(data, at)[0]
        size = un_int(data, end)[0]
        version = un_int(data, end + 4 + size)[0]
        if start <= end and size >= 0:
            return data[start:end], data[end + 4 : end + 4 + size], version, end + 8 + size
    except StructError:
        pass  # the code below finds the error
    path, at = read_string(data, at)
    content, at = read_buffer(data, at)
    version, at = read_int(data, at)
    return path, content, version, at


def encode_set_acl(path: bytes, acl: Sequence[ACL], version: int) -> bytes:
    """setACL."""
    return write_buffer(path) + encode_acl(acl) + pack_int(version)


def read_set_acl(data: bytes, at: int) -> tuple[bytes, tuple[AclEntry, ...] | None, int, int]:
    """path, ACL, expected aversion and the offset behind."""
    path, at = read_string(data, at)
    acl, at = read_acl(data, at)
    version, at = read_int(data, at)
    return path, acl, version, at


def encode_watch_kind(path: bytes, kind: int) -> bytes:
    """checkWatches, removeWatches (opcodes.WATCH_*) and addWatch (opcodes.ADD_WATCH_*)."""
    return write_buffer(path) + pack_int(kind)


def encode_auth(scheme: bytes, credentials: bytes) -> bytes:
    """auth."""
    return pack_int(0) + write_buffer(scheme) + write_buffer(credentials)


def read_auth(data: bytes, at: int) -> tuple[bytes, bytes | None, int]:
    """scheme (empty for null), credentials and the offset behind."""
    _, at = read_int(data, at)
    scheme, at = read_buffer(data, at)
    credentials, at = read_buffer(data, at)
    return scheme or b"", credentials, at


def encode_set_watches(
    relative_zxid: int,
    data: Sequence[bytes],
    exist: Sequence[bytes],
    child: Sequence[bytes],
    persistent: Sequence[bytes] | None = None,
    recursive: Sequence[bytes] | None = None,
) -> bytes:
    """setWatches; setWatches2 when the last two are given."""
    body = pack_long(relative_zxid) + write_strings(data) + write_strings(exist) + write_strings(child)
    if persistent is None and recursive is None:
        return body
    return body + write_strings(persistent or ()) + write_strings(recursive or ())


def read_set_watches(data: bytes, at: int, lists: int) -> tuple[int, list[list[bytes]]]:
    """The last zxid the client had seen, and 3 (setWatches) or 5 (setWatches2) lists of paths, none of them null."""
    relative_zxid, at = read_long(data, at)
    found = []
    for _ in range(lists):
        paths, at = read_strings(data, at)
        if paths is None:
            raise WireError("null list of watches")
        found.append(paths)
    return relative_zxid, found


def encode_multi(operations: Sequence[MultiOp]) -> bytes:
    """multi and multiRead."""
    parts = [_MULTI_HEADER.pack(kind, False, -1) + body for kind, body in operations]
    return b"".join(parts) + MULTI_END


def read_multi_header(data: bytes, at: int) -> tuple[int, bool, int, int]:
    """opcode, whether this is the end, error code, and the offset behind; in requests and in replies."""
    kind, at = read_int(data, at)
    done, at = read_bool(data, at)
    err, at = read_int(data, at)
    return kind, done, err, at


def is_whole_multi(data: bytes) -> bool:
    """Whether a multi can be read to its end."""
    try:
        read_multi(data)
    except WireError:
        return False
    return True


def read_multi(data: bytes) -> list[MultiOp]:
    """The parts of a multi. Raises WireError if a part is malformed or cannot stand in a multi."""
    return [part for some in read_multi_slices(data, 1 << 20) for part in some]


def read_multi_slices(data: bytes, most: int) -> Iterator[list[MultiOp]]:
    """The same, so many parts at a time."""
    at = 0
    found: list[MultiOp] = []
    while True:
        if len(found) == most:
            yield found
            found = []
        kind, done, _, at = read_multi_header(data, at)
        if done:
            yield found
            return
        start = at
        if kind in (op.CREATE, op.CREATE2, op.CREATE_CONTAINER, op.CREATE_TTL):
            _, at = read_create_request(data, at, kind == op.CREATE_TTL)
        elif kind in (op.DELETE, op.CHECK):
            _, _, at = read_path_version(data, at)
        elif kind == op.SET_DATA:
            _, _, _, at = read_set_data(data, at)
        else:
            raise WireError(f"operation {kind} cannot stand in a multi")
        found.append((kind, data[start:at]))


def pack_multi_header(kind: int, err: int) -> bytes:
    """The header before each result of a multi."""
    return _MULTI_HEADER.pack(kind, False, err)


def decode_path(data: bytes, at: int) -> tuple[bytes, int]:
    """create, sync: the path."""
    return read_string(data, at)


def decode_path_stat(data: bytes, at: int) -> tuple[bytes, Stat, int]:
    """create2, createContainer, createTTL: the path and its Stat."""
    path, at = read_string(data, at)
    stat, at = decode_stat(data, at)
    return path, stat, at


def decode_data_stat(data: bytes, at: int) -> tuple[bytes | None, Stat, int]:
    """getData."""
    content, at = read_buffer(data, at)
    stat, at = decode_stat(data, at)
    return content, stat, at


def decode_children(data: bytes, at: int) -> tuple[list[bytes], int]:
    """getChildren, getEphemerals."""
    names, at = read_strings(data, at)
    return names or [], at


def decode_acl_stat(data: bytes, at: int) -> tuple[list[ACL], Stat, int]:
    """getACL."""
    acl, at = decode_acl(data, at)
    stat, at = decode_stat(data, at)
    return acl, stat, at


def decode_who_am_i(data: bytes, at: int) -> tuple[list[tuple[bytes, bytes]], int]:
    """whoAmI: (scheme, user) pairs."""
    count, at = read_int(data, at)
    found = []
    for _ in range(count):
        scheme, at = read_buffer(data, at)
        user, at = read_buffer(data, at)
        found.append((scheme or b"", user or b""))
    return found, at


MultiResult = int | bytes | Stat | tuple[bytes, Stat] | list[bytes] | tuple[bytes | None, Stat] | None


def decode_multi(data: bytes, at: int) -> list[tuple[int, int, MultiResult]]:
    """The results of a multi or multiRead: (type, error code, value) each.

    The type in the reply decides the kind of value, not the operation in the request: create gives a path, create2 a
    path and a Stat, setData a Stat, getData data and Stat, getChildren names; delete, check and errors give None.
    """
    results: list[tuple[int, int, MultiResult]] = []
    while True:
        kind, done, err, at = read_multi_header(data, at)
        if done:
            return results
        value: MultiResult = None
        if kind == op.ERROR:
            err, at = read_int(data, at)
        elif kind == op.CREATE:
            value, at = read_string(data, at)
        elif kind in (op.CREATE2, op.CREATE_CONTAINER, op.CREATE_TTL):
            path, stat, at = decode_path_stat(data, at)
            value = (path, stat)
        elif kind == op.SET_DATA:
            value, at = decode_stat(data, at)
        elif kind == op.GET_DATA:
            content, stat, at = decode_data_stat(data, at)
            value = (content, stat)
        elif kind == op.GET_CHILDREN:
            value, at = decode_children(data, at)
        elif kind not in (op.DELETE, op.CHECK):
            raise WireError(f"multi result of unknown type {kind}")
        results.append((kind, err, value))
