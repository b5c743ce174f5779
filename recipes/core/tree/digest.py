"""The tree's digest: a sum over all znodes, so that two servers can be compared by one number.

A znode's part is the CRC-32 of its path, data and 60 bytes of its Stat in an order of their own. What is below
/zookeeper is left out, since servers change some of it without a txn. Source: DigestCalculator.java.
"""

from struct import Struct
from typing import Final
from zlib import crc32

from recipes.core.tree.znode import ZNode

_pack_fields: Final = Struct(">qqqqqiiiq").pack


def node_digest(path: bytes, node: ZNode) -> int:
    """This znode's part of the tree's digest; the root counts with an empty path."""
    if path.startswith(b"/zookeeper/"):
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


def known_digest(path: bytes, node: ZNode) -> int:
    """The same, not worked out again where it is known."""
    return node.digest if node.digest >= 0 else node_digest(path, node)
