"""Snapshots: files snapshot.<zxid>, written while the tree goes on changing.

Such a snapshot is fuzzy: it may show the effects of txns behind the zxid in its name. Those txns are in the log, and
recovery applies them once more. Source: FileSnap.java, DataTree.serialize.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from struct import Struct
from struct import error as StructError
from zlib import adler32

from recipes.core.errors import DiskError, WireError
from recipes.core.jute.codec import (
    pack_int,
    pack_long,
    read_buffer,
    read_int,
    read_long,
    read_string,
    un_int,
    write_buffer,
)
from recipes.core.jute.records import OPEN_ACL, read_acl, write_acl
from recipes.core.tree.children import Children
from recipes.core.tree.digest import created_digest
from recipes.core.tree.packed import acl_of, data_of, numbers_of, pack_made
from recipes.core.tree.tree import DataTree
from recipes.core.tree.znode import Acl, Numbers, ZNode

HEADER = b"ZKSN" + (2).to_bytes(4, "big") + (-1).to_bytes(8, "big", signed=True)
TAIL = b"\0\0\0\x01/"
_PERSISTED = Struct(">qqqqqiiiqq")  # ACL's key, then StatPersisted
_SESSION = Struct(">qi")
_DIGEST = Struct(">qiQ")
_SEAL_BYTES = 8 + len(TAIL)
_LAST_ZXID_BYTES = 8 + _SEAL_BYTES  # a third section, of ZooKeeper 3.9
_SLICE_NODES = 500
# Stands in for an ACL that a setACL sets while the snapshot is written. Replay sets it again; until then nobody has
# access to the znode.
_NOBODY: Acl = ((0, b"world", b"anyone"),)


def snapshot_name(zxid: int) -> str:
    """The name of the snapshot of `zxid`."""
    return f"snapshot.{zxid:x}"


def write_snapshot(tree: DataTree) -> Iterator[bytes]:
    """The bytes of a snapshot of the tree as it is now, in slices; the tree may change between two slices."""
    return _seal(tree, dump_tree(tree))


def _seal(tree: DataTree, dump: Iterator[bytes]) -> Iterator[bytes]:
    seal = adler32(HEADER)
    yield HEADER
    for chunk in dump:
        seal = adler32(chunk, seal)
        yield chunk
    chunk = pack_long(seal) + TAIL
    chunk += _DIGEST.pack(tree.last_zxid, 2, tree.digest)
    yield chunk + pack_long(adler32(chunk, seal)) + TAIL


def dump_tree(tree: DataTree) -> Iterator[bytes]:
    """The tree alone, up to the path "/" that ends it: the part of a snapshot that also goes over the network.

    Znodes created after the call are left out: the log creates them. Parents come first, as Apache's reader wants.
    """
    zxid = tree.last_zxid
    # Every ACL that there is, in use or not: to look for those in use first would take one long pause.
    keys: dict[Acl, int] = {_NOBODY: 1}
    era = tree.acls.begin_era()
    for acl in tree.acls:
        if acl != OPEN_ACL and acl not in keys:
            keys[acl] = len(keys) + 1
    head = [pack_int(len(tree.sessions))]
    head += [_SESSION.pack(session_id, timeout_ms) for session_id, timeout_ms in tree.sessions.items()]
    head.append(pack_int(len(keys)))
    head += [pack_long(key) + write_acl(acl) for acl, key in keys.items()]
    return chain((b"".join(head),), _dump_nodes(tree, zxid, keys, era), (TAIL,))


def _dump_nodes(tree: DataTree, zxid: int, keys: dict[Acl, int], era: int) -> Iterator[bytes]:
    unused = dict(keys)
    for paths in tree.walk(b"/", _SLICE_NODES):
        parts = []
        for path in paths:
            node = tree.nodes.get(path)
            if node is not None:
                acl, data, fields = node.acl, node.data, _numbers(node)
                owner = node.owner
            elif path in tree.packed:
                record = tree.packed[path]
                acl, data, fields = acl_of(record, tree.acls), data_of(record), numbers_of(record)
                owner = 0
            else:
                continue
            if acl is OPEN_ACL or acl == OPEN_ACL:  # a quota's own znodes have an equal one
                key = -1
            else:
                key = keys.get(acl, 1)
                unused.pop(acl, None)
            if fields[0] <= zxid:
                stat = _PERSISTED.pack(key, *fields[:7], owner, fields[7])
                parts.append(write_buffer(b"" if path == b"/" else path) + write_buffer(data) + stat)
        yield b"".join(parts)
    tree.acls.drop(unused, era)


def seal_body(body: bytes) -> bytes:
    """The file of a snapshot that came over the network: header, `body` (including the "/" at its end), seals.

    Its digest section tells no zxid, since the last txn that the tree shows is not known here.
    """
    data = HEADER + body
    seal = adler32(data)
    tail = pack_long(seal) + TAIL + _DIGEST.pack(0, 2, 0)
    return b"".join((data, tail, pack_long(adler32(tail, seal)), TAIL))


def shown_zxid(data: bytes) -> int | None:
    """The zxid in the digest section of a snapshot file.

    The tree shows no txn that is behind both this zxid and the one in the file's name. 0: the writer did not know it.
    None: the file has no digest section, or is damaged.
    """
    for behind in (0, _LAST_ZXID_BYTES):
        at = len(data) - behind - _DIGEST.size - _SEAL_BYTES  # where the section stands
        if at < len(HEADER) + _SEAL_BYTES or data[at - len(TAIL) : at] != TAIL:
            continue
        sealed = data[: at - _SEAL_BYTES]
        if read_long(data, at - _SEAL_BYTES)[0] != adler32(sealed):
            continue
        zxid, version, _ = _DIGEST.unpack_from(data, at)
        whole = read_long(data, at + _DIGEST.size)[0] == adler32(data[: at + _DIGEST.size])
        return zxid if whole and version == 2 else None
    return None


def is_whole(data: bytes) -> bool:
    """A quick check of whether a snapshot was written to its end."""
    return len(data) >= len(HEADER) + len(TAIL) and data.endswith(TAIL)


def read_snapshot(name: str, data: bytes, tree: DataTree) -> tuple[int, int] | None:
    """Fill the tree from a snapshot; return the zxid and digest of its digest section, or None without them.

    Raises DiskError if the snapshot is damaged; the caller then clears the tree.
    """
    try:
        return _read(data, tree)
    except (WireError, StructError, KeyError) as error:
        raise DiskError(f"{name}: {error}") from error


def _read(data: bytes, tree: DataTree) -> tuple[int, int] | None:
    if not is_whole(data) or data[:8] != HEADER[:8]:
        raise WireError("not a whole snapshot")
    tree.clear()
    count, at = read_int(data, 16)
    for _ in range(count):
        session_id, timeout_ms = _SESSION.unpack_from(data, at)
        tree.sessions[session_id] = timeout_ms
        at += 12
    acls: dict[int, Acl] = {-1: OPEN_ACL}
    count, at = read_int(data, at)
    for _ in range(count):
        key, at = read_long(data, at)
        acl, at = read_acl(data, at)
        acls[key] = acl or ()
    at = _read_nodes(data, at, acls, tree)
    at = _check_seal(data, at)
    tree.quotas.load(tree.nodes)
    if len(data) - at < _DIGEST.size:
        return None
    zxid, version, digest = _DIGEST.unpack_from(data, at)
    _check_seal(data, at + _DIGEST.size)
    return (zxid, digest) if version == 2 and zxid else None


def _read_nodes(data: bytes, at: int, acls: dict[int, Acl], tree: DataTree) -> int:
    """Add the znodes to the tree; return the offset behind them.

    A restart waits for this loop. Most znodes follow a sibling and are as they were created, so these are read and
    packed here, without a call for each part; `_read_node` takes the others.
    """
    packed, nodes, unpack, pack = tree.packed, tree.nodes, _PERSISTED.unpack_from, pack_made
    above: bytes | None = None  # the parent of the znode before, without a slash at its end
    add: Callable[[bytes], int] = Children().add
    count = size = digest = 0
    end: int
    while True:
        begin = at + 4
        end = begin + un_int(data, at)[0]
        path = data[begin:end]
        if path == b"/":
            break
        cut = path.rfind(b"/")
        if cut >= 0 and path[:cut] == above and path not in packed and path not in nodes:
            begin = end + 4
            length = un_int(data, end)[0]
            behind = begin + length
            key, czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid = unpack(data, behind)
            unchanged = czxid == mzxid == pzxid and ctime == mtime and not (version or cversion or aversion)
            if unchanged and length >= 0 and not owner and key == -1:
                content = data[begin:behind]
                part = created_digest(path, content, czxid, ctime)
                packed[path] = pack(0, add(path), part, czxid, ctime) + content
                digest += part
                size += len(path) + length
                count += 1
                at = behind + _PERSISTED.size
                continue
        path, at = _read_node(data, at, acls, tree)
        if path in packed:
            above = path[: path.rfind(b"/")]
            siblings = nodes[above or b"/"].children
            add = siblings.add if siblings is not None else add
    tree.count_loaded(count, size, digest)
    return end


def _read_node(data: bytes, at: int, acls: dict[int, Acl], tree: DataTree) -> tuple[bytes, int]:
    """Add one znode; return its path and the offset behind it."""
    path, at = read_string(data, at)
    content, at = read_buffer(data, at)
    key, czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid = _PERSISTED.unpack_from(data, at)
    # Apache writes the ACLs first, while txns go on. An ACL that a znode gets after that is not among them: nobody may
    # use the znode until replay sets the ACL again.
    numbers = (czxid, mzxid, ctime, mtime, version, cversion, aversion, pzxid)
    tree.load(path or b"/", content, acls.get(key, ()), owner, numbers)
    return path, at + _PERSISTED.size


def _check_seal(data: bytes, at: int) -> int:
    found, end = read_long(data, at)
    if found != adler32(data[:at]):
        raise WireError("checksum does not match")
    return end + len(TAIL)


def _numbers(node: ZNode) -> Numbers:
    return (
        node.czxid, node.mzxid, node.ctime, node.mtime, node.version, node.cversion, node.aversion, node.pzxid
    )  # fmt: skip
