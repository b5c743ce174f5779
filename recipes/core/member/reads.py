"""Reads: answered from the tree as it is, without a txn. Each takes the body of a request and returns a reply's body.
Those of SLICED_READS may take several turns.

The watcher of a request is the connection it came on. Source: FinalRequestProcessor.java.
"""

from collections.abc import Callable, Generator
from struct import Struct
from typing import Final, Protocol

from recipes.core.codes import BAD_ARGUMENTS, MARSHALLING_ERROR, NO_AUTH, NO_NODE, NO_WATCHER, QUOTA_EXCEEDED
from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import (
    pack_int,
    read_buffer,
    read_int,
    read_long,
    read_string,
    un_int,
    write_buffer,
    write_strings,
)
from recipes.core.jute.records import OPEN_ACL, Ids, write_acl
from recipes.core.jute.requests import (
    MULTI_END,
    pack_multi_header,
    read_multi,
    read_multi_header,
    read_path_version,
    read_path_watch,
)
from recipes.core.tree.acl import masked, permits, user_name
from recipes.core.tree.packed import open_node
from recipes.core.tree.pending_znode import child_count
from recipes.core.tree.quota import is_of_quota
from recipes.core.tree.tree import DataTree
from recipes.core.tree.znode import ZNode, pack_stat

LARGE_BYTES: Final = 4096  # replies with a larger body count towards a connection's limit on unsent bytes
_MOST_MULTI_READ_BYTES: Final = 8 << 20  # a multiRead with a larger reply is refused
_pack_data_reply: Final = Struct(">iiqii").pack  # the frame's length, the reply's head, the length of the data


_SLICE: Final = 256  # paths or znodes
_PART_UNITS: Final = 3  # of a multiRead
_LONG_BYTES: Final = 64 * 1024
_LONG_CHILDREN: Final = 1000

# A reply in the making: yields the units of each slice, see connection.MOST_UNITS, and returns the reply's body.
Slices = Generator[int, None, bytes]


class Failed(Exception):
    """A read that is answered with an error code, and a body only where Apache sends one. Never leaves core/member."""

    def __init__(self, code: int, body: bytes = b"") -> None:
        self.code = code
        self.body = body


class Asker(Protocol):
    """The connection that sent a request: its session, and where events of its watches go."""

    session_id: int

    def notify(self, kind: int, path: bytes) -> None:
        """Send an event."""


def find(tree: DataTree, path: bytes, perm: int, ids: Ids) -> ZNode:
    """The znode at `path`, if its ACL grants `perm` to `ids`. Raises Failed."""
    node = tree.find(path or b"/")
    if node is None:
        raise Failed(NO_NODE)
    if node.acl is not OPEN_ACL and not may(tree, path, node, perm, ids):
        raise Failed(NO_AUTH)
    return node


def may(tree: DataTree, path: bytes, node: ZNode, perm: int, ids: Ids) -> bool:
    """Whether `ids` may read a znode: by its ACL, and if it is a quota's own, by that of the subtree it is about."""
    return permits(node.acl, perm, ids) and (not is_of_quota(path) or tree.quota_permits(path, op.READ, ids))


def get_data(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> bytes:
    """Data and Stat; a watch only when there is a znode."""
    path, watch, _ = read_path_watch(body, 0)
    node = find(tree, path, op.READ, ids)
    if watch:
        _room(tree, asker)
        tree.watches.add_data(path, asker)
    return write_buffer(node.data) + pack_stat(node)


def plain_get(tree: DataTree, xid: int, body: bytes, ids: Ids) -> bytes | None:
    """The reply to a get without a watch, by far the most frequent request. None: `get_data` has to answer."""
    length = len(body) - 5  # of the path
    if length < 0 or body[-1]:
        return None
    path = body[4:-1]
    node = tree.nodes.get(path)
    if node is None and path in tree.packed:
        node = tree.warmed(path)
    if node is None:
        record = tree.packed.get(path)
        found = None if record is None or un_int(body)[0] != length else open_node(record)
        if found is None:
            return None
        data, stat = found
        size = len(data)
        if size > LARGE_BYTES:
            return None
        return _pack_data_reply(88 + size, xid, tree.last_zxid, 0, size) + data + stat
    if un_int(body)[0] != length or not (node.acl is OPEN_ACL or may(tree, path, node, op.READ, ids)):
        return None
    content = node.data
    if content is None:
        return None
    size = len(content)
    if size > LARGE_BYTES:
        return None
    return _pack_data_reply(88 + size, xid, tree.last_zxid, 0, size) + content + pack_stat(node)


def exists(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> bytes:
    """Stat; the watch is set also when there is no znode yet."""
    path, watch, _ = read_path_watch(body, 0)
    if b"\0" in path:
        raise Failed(BAD_ARGUMENTS)
    node = tree.find(path or b"/")
    if node is not None and node.acl is not OPEN_ACL and not may(tree, path, node, op.READ, ids):
        raise Failed(NO_AUTH)
    if watch:
        _room(tree, asker)
        tree.watches.add_data(path, asker)
    if node is None:
        raise Failed(NO_NODE)
    return pack_stat(node)


def get_children(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> bytes:
    """Names of the children."""
    return _children(tree, asker, ids, body)[0]


def get_children2(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> bytes:
    """Names of the children, and the Stat."""
    names, node = _children(tree, asker, ids, body)
    return names + pack_stat(node)


def _children(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> tuple[bytes, ZNode]:
    path, watch, _ = read_path_watch(body, 0)
    node = find(tree, path, op.READ, ids)
    if watch:
        _room(tree, asker)
        tree.watches.add_child(path, asker)
    return write_strings(tree.children_names(path or b"/")), node


def get_acl(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> bytes:
    """ACL and Stat; the digests are masked for a client without the ADMIN permission."""
    path, _ = read_buffer(body, 0)
    node = find(tree, path or b"", op.READ | op.ADMIN, ids)
    acl = node.acl if permits(node.acl, op.ADMIN, ids) else masked(node.acl)
    return write_acl(acl) + pack_stat(node)


def ping(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> bytes:
    """An empty body."""
    return b""


def get_ephemerals(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> Slices:
    """The session's own ephemeral znodes below a prefix."""
    prefix, _ = read_buffer(body, 0)
    prefix = prefix or b""
    owned = list(tree.ephemerals.get(asker.session_id, ()))
    found, count = [], 0
    for begin in range(0, len(owned), _SLICE):
        paths = [path for path in owned[begin : begin + _SLICE] if path.startswith(prefix)]
        count += len(paths)
        found += [write_buffer(path) for path in paths]
        yield _SLICE // 2
    return pack_int(count) + b"".join(found)


def get_all_children_number(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> Slices:
    """How many znodes are below a path. Changes in a large subtree that come while it is counted may be left out."""
    path, _ = read_buffer(body, 0)
    find(tree, path or b"", op.READ, ids)
    if path in (b"", b"/", None):
        return pack_int(tree.count - 1)
    count = -1
    for paths in tree.walk(path or b"/", _SLICE):
        count += len(paths)
        yield _SLICE // 4
    return pack_int(count)


def who_am_i(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> bytes:
    """Scheme and user of every identity."""
    parts = [write_buffer(scheme) + write_buffer(user_name(scheme, ident)) for scheme, ident in ids if scheme]
    return pack_int(len(parts)) + b"".join(parts)


def add_watch(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> bytes:
    """Add a persistent watch, on one path or on everything below it too."""
    path, mode, _ = read_path_version(body, 0)
    if mode not in (op.ADD_WATCH_PERSISTENT, op.ADD_WATCH_PERSISTENT_RECURSIVE):
        raise Failed(MARSHALLING_ERROR)
    _room(tree, asker)
    tree.watches.add_persistent(path, asker, mode == op.ADD_WATCH_PERSISTENT_RECURSIVE)
    return pack_int(0)


def check_watches(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> bytes:
    """Check that this connection has a watch of this kind on a path."""
    path, kind, _ = read_path_version(body, 0)
    if not op.WATCH_CHILDREN <= kind <= op.WATCH_PERSISTENT_RECURSIVE:
        raise Failed(MARSHALLING_ERROR)
    if not tree.watches.has(path, asker, kind):
        raise Failed(NO_WATCHER)
    return b""


def remove_watches(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> bytes:
    """Remove this connection's watches of a kind from a path."""
    path, kind, _ = read_path_version(body, 0)
    if not op.WATCH_CHILDREN <= kind <= op.WATCH_PERSISTENT_RECURSIVE:
        raise Failed(MARSHALLING_ERROR)
    if not tree.watches.remove(path, asker, kind):
        raise Failed(NO_WATCHER)
    return b""


def set_watches(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> Slices:
    """Restore the watches of an earlier connection: those that missed an event fire, the others are set again."""
    return (yield from _set_watches(tree, asker, ids, body, (_restore_data, _restore_exist, _restore_child)))


def set_watches2(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> Slices:
    """The same, with persistent watches, which are only set."""
    restores = (_restore_data, _restore_exist, _restore_child, _restore_persistent, _restore_recursive)
    return (yield from _set_watches(tree, asker, ids, body, restores))


def _set_watches(
    tree: DataTree, asker: Asker, ids: Ids, body: bytes, restores: "tuple[Callable[..., None], ...]"
) -> Slices:
    """A path that changes between two slices is found changed, or fires the watch that was set for it."""
    zxid, at = read_long(body, 0)
    lists: list[list[bytes]] = []
    for _ in restores:
        count, at = read_int(body, at)
        if count < 0 or 4 * count > len(body) - at:
            raise WireError(f"{count} watches in {len(body) - at} bytes")
        paths: list[bytes] = []
        for begin in range(0, count, _SLICE):
            for _ in range(min(_SLICE, count - begin)):
                path, at = read_string(body, at)
                paths.append(path)
            yield _SLICE
        lists.append(paths)
    for restore, paths in zip(restores, lists, strict=True):
        for begin in range(0, len(paths), _SLICE):
            for path in paths[begin : begin + _SLICE]:
                restore(tree, asker, ids, zxid, path)
            yield 3 * _SLICE
    return b""


def _restore_data(tree: DataTree, asker: Asker, ids: Ids, zxid: int, path: bytes) -> None:
    node = tree.find(path)
    if node is None:
        asker.notify(op.EVENT_DELETED, path)
    elif node.mzxid > zxid and permits(node.acl, op.READ, ids):
        asker.notify(op.EVENT_DATA, path)
    else:
        _room(tree, asker)
        tree.watches.add_data(path, asker)


def _restore_exist(tree: DataTree, asker: Asker, ids: Ids, zxid: int, path: bytes) -> None:
    node = tree.find(path)
    if node is not None and permits(node.acl, op.READ, ids):
        asker.notify(op.EVENT_CREATED, path)
    else:
        _room(tree, asker)
        tree.watches.add_data(path, asker)


def _restore_child(tree: DataTree, asker: Asker, ids: Ids, zxid: int, path: bytes) -> None:
    node = tree.find(path)
    if node is None:
        asker.notify(op.EVENT_DELETED, path)
    elif node.pzxid > zxid and permits(node.acl, op.READ, ids):
        asker.notify(op.EVENT_CHILDREN, path)
    else:
        _room(tree, asker)
        tree.watches.add_child(path, asker)


def _restore_persistent(tree: DataTree, asker: Asker, ids: Ids, zxid: int, path: bytes) -> None:
    _room(tree, asker)
    tree.watches.add_persistent(path, asker, False)


def _restore_recursive(tree: DataTree, asker: Asker, ids: Ids, zxid: int, path: bytes) -> None:
    _room(tree, asker)
    tree.watches.add_persistent(path, asker, True)


def _room(tree: DataTree, asker: Asker) -> None:
    """Refuse one more watch if the session has as many as the server allows."""
    if tree.watches.is_full(asker):
        raise Failed(QUOTA_EXCEEDED)


def multi_read(tree: DataTree, asker: Asker, ids: Ids, body: bytes) -> Slices:
    """getData and getChildren together; each fails by itself, none sets a watch.

    All are of one state of the tree, unless they take longer than a turn.
    """
    at = size = 0
    parts: list[bytes] = []
    while True:
        kind, done, _, at = read_multi_header(body, at)
        if done:
            return b"".join(parts) + MULTI_END
        if kind not in (op.GET_DATA, op.GET_CHILDREN):
            if not parts and read_multi(body):  # a well-formed multi of writes: the reply has an empty multi's body
                raise Failed(MARSHALLING_ERROR, MULTI_END)
            raise WireError(f"operation {kind} cannot stand in a multiRead")
        path, _, at = read_path_watch(body, at)
        try:
            node = find(tree, path, op.READ, ids)
        except Failed as failed:
            parts.append(pack_multi_header(op.ERROR, failed.code) + pack_int(failed.code))
            yield _PART_UNITS
            continue
        parts.append(pack_multi_header(kind, 0))
        if kind == op.GET_DATA:
            parts.append(write_buffer(node.data) + pack_stat(node))
        else:
            parts.append(write_strings(tree.children_names(path or b"/")))
        size += len(parts[-1])
        if size > _MOST_MULTI_READ_BYTES:  # the request reads the same large znodes many times
            raise Failed(BAD_ARGUMENTS)
        yield _PART_UNITS + len(parts[-1]) // 8192


def is_long(tree: DataTree, kind: int, body: bytes) -> bool:
    """Whether a read's reply may be long: too many of those must not become due at once."""
    # On the compiled build a slice that would end before its beginning raises SystemError.
    if kind not in (op.GET_DATA, op.GET_CHILDREN, op.GET_CHILDREN2) or len(body) < 6:
        return False
    node = tree.find(body[4:-1])
    if node is None:
        return False
    return len(node.data or b"") > _LONG_BYTES or child_count(node) > _LONG_CHILDREN


Read = Callable[[DataTree, Asker, Ids, bytes], bytes]
SlicedRead = Callable[[DataTree, Asker, Ids, bytes], Slices]

READS: dict[int, Read] = {
    op.GET_DATA: get_data,
    op.EXISTS: exists,
    op.GET_CHILDREN: get_children,
    op.GET_CHILDREN2: get_children2,
    op.PING: ping,
    op.GET_ACL: get_acl,
    op.WHO_AM_I: who_am_i,
    op.ADD_WATCH: add_watch,
    op.CHECK_WATCHES: check_watches,
    op.REMOVE_WATCHES: remove_watches,
}

# Their cost has no limit but the size of a request, a session or a tree.
SLICED_READS: dict[int, SlicedRead] = {
    op.GET_EPHEMERALS: get_ephemerals,
    op.GET_ALL_CHILDREN_NUMBER: get_all_children_number,
    op.SET_WATCHES: set_watches,
    op.SET_WATCHES2: set_watches2,
    op.MULTI_READ: multi_read,
}
