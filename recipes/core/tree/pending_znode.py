"""Znodes as they will be once the txns under way are applied."""

from recipes.core.tree.znode import Acl, ZNode


class PendingZNode(ZNode):
    """A znode as it will be once every txn under way is applied. It has `child_count` in place of `children`.

    exists: False when it will be gone. zxid: of the txn that makes this znode. digest: 0 when it will be gone.
    """

    __slots__ = ("child_count", "exists", "path", "zxid")

    child_count: int
    exists: bool
    path: bytes
    zxid: int

    def __init__(self) -> None:
        """Leaves all fields unset; `copy_of` and `new_znode` set them."""


class Removal(PendingZNode):
    """Many znodes that one txn removes; this stands in place of a PendingZNode for each."""

    __slots__ = ("paths",)

    def __init__(self, paths: list[bytes], zxid: int) -> None:
        self.paths: list[bytes] = paths
        self.path = b""
        self.zxid = zxid
        self.exists = False
        self.data: bytes | None = None
        self.owner = 0
        self.digest = 0
        self.child_count = 0


def copy_of(node: ZNode) -> PendingZNode:
    """A PendingZNode with the znode's values; Pending sets its path, zxid and digest."""
    znode = PendingZNode()
    znode.data = node.data
    znode.acl = node.acl
    znode.czxid = node.czxid
    znode.mzxid = node.mzxid
    znode.pzxid = node.pzxid
    znode.ctime = node.ctime
    znode.mtime = node.mtime
    znode.version = node.version
    znode.cversion = node.cversion
    znode.aversion = node.aversion
    znode.owner = node.owner
    znode.exists = True
    if type(node) is PendingZNode:
        znode.child_count = node.child_count
    else:
        znode.child_count = node.children.count if node.children is not None else 0
    return znode


def child_count(node: ZNode) -> int:
    """How many children the znode has, or will have."""
    if type(node) is PendingZNode:
        return node.child_count
    return node.children.count if node.children is not None else 0


def new_znode(data: bytes | None, acl: Acl, zxid: int, time_ms: int, owner: int) -> PendingZNode:
    """A znode that a txn creates."""
    znode = PendingZNode()
    ZNode.__init__(znode, data, acl, zxid, time_ms, owner)
    znode.exists = True
    znode.child_count = 0
    return znode
