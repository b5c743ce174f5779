"""One znode, and how its Stat is made from what is stored."""

from typing import Final

from recipes.core.jute.records import STAT, AclEntry
from recipes.core.tree.children import Children

CONTAINER_OWNER: Final = -(1 << 63)
_TTL_OWNER: Final = -(1 << 56)  # 0xff in the top byte of an unsigned 64-bit number, feature 0 in the next two
MAX_TTL_MS: Final = (1 << 40) - 1
_HALF: Final = 1 << 31
# What a znode takes in memory beside its path and data: an object, numbers, places in dicts. Measured on CPython 3.11.
ZNODE_BYTES: Final = 450
_pack_stat: Final = STAT.pack

Acl = tuple[AclEntry, ...]
# In the order of a snapshot: czxid, mzxid, ctime, mtime, version, cversion, aversion, pzxid.
Numbers = tuple[int, int, int, int, int, int, int, int]


def ttl_owner(ttl_ms: int) -> int:
    """The stored ephemeralOwner of a znode with a TTL (EphemeralType.java)."""
    return _TTL_OWNER + ttl_ms


def ttl_of(owner: int) -> int | None:
    """The TTL in ms that a stored ephemeralOwner stands for, or None."""
    return owner - _TTL_OWNER if _TTL_OWNER <= owner <= _TTL_OWNER + MAX_TTL_MS else None


def is_session(owner: int) -> bool:
    """Whether a stored ephemeralOwner is a session's id."""
    return owner != 0 and owner != CONTAINER_OWNER and ttl_of(owner) is None


class ZNode:
    """What the store keeps of a znode. Every field is as Apache stores it, not as a Stat shows it.

    acl: shared between all znodes that have the same one.
    cversion: number of children ever created; a Stat shows creations plus deletions.
    owner: session id, or a mark for containers and TTLs; a Stat shows 0 for those.
    children: full paths; None while there are none. place: its own number in its parent's `children`.
    digest: its part of the tree's digest; -1 where a change has made it unknown.
    """

    __slots__ = (
        "acl", "aversion", "children", "ctime", "cversion", "czxid", "data", "digest", "mtime", "mzxid", "owner",
        "place", "pzxid", "version",
    )  # fmt: skip

    def __init__(self, data: bytes | None, acl: Acl, zxid: int, time_ms: int, owner: int = 0) -> None:
        self.data: bytes | None = data
        self.acl: Acl = acl
        self.czxid: int = zxid
        self.mzxid: int = zxid
        self.pzxid: int = zxid
        self.ctime: int = time_ms
        self.mtime: int = time_ms
        self.version: int = 0
        self.cversion: int = 0
        self.aversion: int = 0
        self.owner: int = owner
        self.children: Children | None = None
        self.place: int = 0
        self.digest: int = -1


def made_of(data: bytes | None, acl: Acl, owner: int, numbers: Numbers) -> ZNode:
    """A znode as a snapshot has it."""
    czxid, mzxid, ctime, mtime, version, cversion, aversion, pzxid = numbers
    node = ZNode(data, acl, czxid, ctime, owner)
    node.mzxid = mzxid
    node.mtime = mtime
    node.version = version
    node.cversion = cversion
    node.aversion = aversion
    node.pzxid = pzxid
    return node


def pack_stat(node: ZNode) -> bytes:
    """The Stat as it goes on the wire, 68 bytes."""
    data, children, owner = node.data, node.children, node.owner
    count = children.count if children is not None else 0
    cversion = 2 * node.cversion - count
    if not -_HALF <= cversion < _HALF:  # after a billion children; a 32-bit counter wraps
        cversion = (cversion + _HALF) % (2 * _HALF) - _HALF
    return _pack_stat(
        node.czxid,
        node.mzxid,
        node.ctime,
        node.mtime,
        node.version,
        cversion,
        node.aversion,
        owner if owner >= 0 or is_session(owner) else 0,
        len(data) if data else 0,
        count,
        node.pzxid,
    )
