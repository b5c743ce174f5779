"""Quotas: limits for the subtree at a path, and its usage.

The limits for /p are the data of /zookeeper/quota/p/zookeeper_limits; its usage is the data of .../zookeeper_stats,
which every server keeps up to date by itself. Source: StatsTrack.java, DataTree.java.
"""

import re
from typing import TYPE_CHECKING, Final

from recipes.core import paths
from recipes.core.tree.packed import size_of

if TYPE_CHECKING:
    from recipes.core.tree.znode import ZNode

_PREFIX: Final = b"/zookeeper/quota"
_LIMITS: Final = b"/zookeeper_limits"
_STATS: Final = b"/zookeeper_stats"
_INSIDE: Final = _PREFIX + b"/"
_KEYS: Final = (b"count", b"bytes", b"byteHardLimit", b"countHardLimit")
_AT_ONCE: int = 1000  # znodes that are counted with the write that asks for it
_NUMBER: Final = re.compile(rb"(-?[0-9]{1,18})=*")  # clients put a stray = where the hard limits begin


def parse(data: bytes | None) -> dict[bytes, int]:
    """The numbers in a limits or stats znode; a missing or unreadable number is -1, which is no limit.

    Never raises: the txn with such data is already in every log.
    """
    found: dict[bytes, int] = dict.fromkeys(_KEYS, -1)
    for part in (data or b"").replace(b";", b",").split(b","):
        key, _, number = part.partition(b"=")
        matched = _NUMBER.fullmatch(number)
        if key in found and matched:
            found[key] = int(matched[1])
    return found


def is_of_quota(path: bytes) -> bool:
    """Whether a znode is a quota's own: it tells of another subtree, or limits it."""
    return path.startswith(_INSIDE) or path == _PREFIX


def subtree_of(path: bytes) -> bytes:
    """The subtree that a quota's own znode is about."""
    root = path[len(_PREFIX) :]
    return root.removesuffix(_LIMITS).removesuffix(_STATS) or paths.ROOT


class Counting:
    """The count of a subtree that is under way, beside changes in that subtree."""

    __slots__ = ("_packed", "counted", "left", "size")

    def __init__(self, root: bytes, packed: dict[bytes, bytes]) -> None:
        self._packed = packed
        self.left: list[bytes] = [root]  # to be looked at
        self.counted: dict[bytes, int] = {}  # path -> bytes of its data
        self.size: int = 0

    def go_on(self, nodes: "dict[bytes, ZNode]", most: int) -> bool:
        """Look at so many znodes; return whether all are counted."""
        left, counted = self.left, self.counted
        for _ in range(most):
            if not left:
                break
            path = left.pop()
            if path in counted:
                continue
            node = nodes.get(path)
            if node is not None:
                self.put(path, len(node.data) if node.data else 0)
                if node.children is not None:
                    left += node.children.paths()
            elif path in self._packed:
                self.put(path, size_of(self._packed[path]))
        return not left

    def put(self, path: bytes, size: int) -> None:
        """Count this znode, with so many bytes."""
        self.size += size - self.counted.get(path, 0)
        self.counted[path] = size

    def changed(self, path: bytes, count: int, size: int) -> None:
        """A change has added so many znodes and bytes; znodes that are not yet counted will be found as they are."""
        if count > 0:
            if paths.parent(path) in self.counted:  # whose children have been noted without this one
                self.put(path, size)
        elif path in self.counted:
            self.size += size
            self.counted[path] += size
            if count < 0:
                del self.counted[path]


class Quotas:
    """The limited subtrees.

    The usage of a subtree is what its stats znode says, as in ZooKeeper: each change below the path adds to it, a
    create of the stats znode counts the subtree anew, and a client that writes the stats znode sets the usage. Without
    a limits znode nothing is counted, without a stats znode nothing is refused.
    active: False while no path has a quota, so that writes can skip the look-up.
    packed: the tree's packed znodes; a quota's own are never among them.
    counting: limited path -> the count of its subtree that is under way; the stats follow once it is complete.
    """

    __slots__ = ("_limits", "_packed", "active", "counting")

    def __init__(self, packed: dict[bytes, bytes] | None = None) -> None:
        self._packed: dict[bytes, bytes] = {} if packed is None else packed
        self.active: bool = False
        self._limits: dict[bytes, None] = {}
        self.counting: dict[bytes, Counting] = {}

    def root_of(self, path: bytes) -> bytes | None:
        """The nearest limited path at or above `path`."""
        while self.active:
            if path in self._limits:
                return path
            if path == paths.ROOT:
                break
            path = paths.parent(path)
        return None

    def exceeds(
        self, nodes: "dict[bytes, ZNode]", root: bytes, count: int, size: int, ahead: tuple[int, int] = (0, 0)
    ) -> bool:
        """Whether `count` more znodes or `size` more bytes break a hard limit of `root`.

        ahead: the znodes and bytes that txns under way will add first.
        """
        limits, stats = nodes.get(_PREFIX + root + _LIMITS), nodes.get(_PREFIX + root + _STATS)
        if limits is None or stats is None:
            return False
        most, used = parse(limits.data), parse(stats.data)
        most_count, most_size = most[b"countHardLimit"], most[b"byteHardLimit"]
        # As in ZooKeeper, data above a lowered limit may shrink only if that brings it within the limit.
        return (count != 0 and -1 < most_count < used[b"count"] + ahead[0] + count) or (
            size != 0 and -1 < most_size < used[b"bytes"] + ahead[1] + size
        )

    def load(self, nodes: "dict[bytes, ZNode]") -> None:
        """Find the quotas of a tree just read from disk."""
        for path in nodes:
            if path.startswith(_PREFIX + b"/") and path.endswith(_LIMITS):
                root = path[len(_PREFIX) : -len(_LIMITS)]
                self._limit(root)
                # A fuzzy snapshot may hold a usage that is older than some of its znodes.
                self._recount(nodes, root, 1 << 60)

    def created(self, nodes: "dict[bytes, ZNode]", path: bytes, node: "ZNode") -> None:
        """A znode was created: it may be a quota's own, or count towards one."""
        if path.startswith(_PREFIX + b"/"):
            if path.endswith(_LIMITS):
                self._limit(path[len(_PREFIX) : -len(_LIMITS)])
            elif path.endswith(_STATS):
                self._recount(nodes, path[len(_PREFIX) : -len(_STATS)], _AT_ONCE)
            return
        self._add(nodes, path, 1, len(node.data) if node.data else 0)

    def deleted(self, nodes: "dict[bytes, ZNode]", path: bytes, node: "ZNode") -> None:
        """A znode was deleted."""
        if path.startswith(_PREFIX + b"/"):
            if path.endswith(_LIMITS):
                self._limits.pop(path[len(_PREFIX) : -len(_LIMITS)], None)
                self.active = bool(self._limits)
            elif path.endswith(_STATS):
                self.counting.pop(path[len(_PREFIX) : -len(_STATS)], None)
            return
        self._add(nodes, path, -1, -(len(node.data) if node.data else 0))

    def deleted_together(
        self, nodes: "dict[bytes, ZNode]", gone: "dict[bytes, ZNode]", limited: dict[bytes, tuple[int, int]]
    ) -> None:
        """These znodes were deleted by one txn. limited: limited path -> how many they were, and their bytes."""
        for root, (count, size) in limited.items():
            if root not in self.counting:
                self._add(nodes, root, -count, -size)
        if self.counting or any(map(is_of_quota, gone)):
            for path, node in gone.items():
                if is_of_quota(path) or self.root_of(path) in self.counting:
                    self.deleted(nodes, path, node)

    def changed(self, nodes: "dict[bytes, ZNode]", path: bytes, before: bytes | None, after: bytes | None) -> None:
        """A znode's data was changed."""
        if not path.startswith(_PREFIX + b"/"):
            self._add(nodes, path, 0, (len(after) if after else 0) - (len(before) if before else 0))

    def _limit(self, root: bytes) -> None:
        if root:  # a limit for the whole tree is ignored
            self._limits[root] = None
            self.active = True

    def count_some(self, nodes: "dict[bytes, ZNode]", most: int) -> None:
        """Go on with a count that is under way, by so many znodes."""
        for root, counting in self.counting.items():
            if counting.go_on(nodes, most):
                self._counted(nodes, root)
            return

    def _recount(self, nodes: "dict[bytes, ZNode]", root: bytes, at_once: int) -> None:
        if _PREFIX + root + _STATS in nodes:
            counting = self.counting[root] = Counting(root, self._packed)
            if counting.go_on(nodes, at_once):
                self._counted(nodes, root)

    def _counted(self, nodes: "dict[bytes, ZNode]", root: bytes) -> None:
        counting, stats = self.counting.pop(root), nodes.get(_PREFIX + root + _STATS)
        if stats is not None:
            stats.data = _usage(len(counting.counted), counting.size)

    def _add(self, nodes: "dict[bytes, ZNode]", path: bytes, count: int, size: int) -> None:
        root = self.root_of(path)
        if root in self.counting:
            self.counting[root].changed(path, count, size)
            return
        stats = None if root is None else nodes.get(_PREFIX + root + _STATS)
        if stats is not None:
            used = parse(stats.data)
            # Without a txn, as in ZooKeeper: only the data changes, not the Stat.
            stats.data = _usage(used[b"count"] + count, used[b"bytes"] + size)


def _usage(count: int, size: int) -> bytes:
    return b"count=%d,bytes=%d" % (count, size)
