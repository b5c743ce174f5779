"""Znodes as they will be once the txns under way are applied."""

from recipes.core.tree.znode import Acl, ZNode


class Change(ZNode):
    """A znode as it will be once every txn under way is applied. It has `child_count` in place of `children`.

    exists: False when it will be gone. zxid: of the txn that makes this change. digest: 0 when it will be gone.
    """

    __slots__ = ("child_count", "exists", "path", "zxid")

    child_count: int
    exists: bool
    path: bytes
    zxid: int

    def __init__(self) -> None:
        """Leaves all fields unset; `copy_of` and `new_change` set them."""


class Removal(Change):
    """Many znodes that one txn removes; their Change in place of one for each."""

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


def copy_of(node: ZNode) -> Change:
    """A Change with the znode's values; Pending sets its path, zxid and digest."""
    change = Change()
    change.data = node.data
    change.acl = node.acl
    change.czxid = node.czxid
    change.mzxid = node.mzxid
    change.pzxid = node.pzxid
    change.ctime = node.ctime
    change.mtime = node.mtime
    change.version = node.version
    change.cversion = node.cversion
    change.aversion = node.aversion
    change.owner = node.owner
    change.exists = True
    if type(node) is Change:
        change.child_count = node.child_count
    else:
        change.child_count = node.children.count if node.children is not None else 0
    return change


def child_count(node: ZNode) -> int:
    """How many children the znode has, or will have."""
    if type(node) is Change:
        return node.child_count
    return node.children.count if node.children is not None else 0


def new_change(data: bytes | None, acl: Acl, zxid: int, time_ms: int, owner: int) -> Change:
    """A Change that creates a znode."""
    change = Change()
    ZNode.__init__(change, data, acl, zxid, time_ms, owner)
    change.exists = True
    change.child_count = 0
    return change
