"""The tree's digest: one number, summed over all znodes, by which two servers can be compared.

A znode's part is the CRC-32 of its path, its data and 60 bytes of its Stat, in the field order of `node_digest`.
Znodes below /zookeeper are left out: servers change some of them without a txn. Source: DigestCalculator.java.
"""

from struct import Struct
from typing import Final
from zlib import crc32

from recipes.core.tree.znode import Numbers, ZNode

_pack_fields: Final = Struct(">qqqqqiiiq").pack


_LEFT_OUT: Final = b"/zookeeper/"


def node_digest(path: bytes, node: ZNode) -> int:
    """This znode's part of the tree's digest; the root counts with an empty path."""
    if path.startswith(_LEFT_OUT):
        return 0
    fields = _pack_fields(
        node.czxid,
        node.mzxid,
        node.pzxid,
        node.ctime,
        node.mtime,
        node.version,
        node.cversion,
        node.aversion,
        node.owner,
    )
    if path == b"/":
        path = b""
    return crc32(path + node.data + fields if node.data else path + fields)


def numbers_digest(path: bytes, data: bytes | None, numbers: Numbers) -> int:
    """The same of a znode without owner, by the numbers that a snapshot has of it."""
    czxid, mzxid, ctime, mtime, version, cversion, aversion, pzxid = numbers
    fields = _pack_fields(czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, 0)
    return crc32(path + data + fields if data else path + fields)


def created_digest(path: bytes, data: bytes, czxid: int, ctime: int) -> int:
    """The same of a znode that is as it was created, without owner."""
    return crc32(path + data + _pack_fields(czxid, czxid, czxid, ctime, ctime, 0, 0, 0, 0))


def known_digest(path: bytes, node: ZNode) -> int:
    """The same, taken from the znode where it is known."""
    return node.digest if node.digest >= 0 else node_digest(path, node)
