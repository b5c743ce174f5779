"""Quotas: limits for the subtree at a path, and its usage.

The limits for /p are the data of /zookeeper/quota/p/zookeeper_limits; its usage is the data of .../zookeeper_stats,
which every server keeps up to date by itself. Source: StatsTrack.java, DataTree.java.
"""

import re
from typing import TYPE_CHECKING, Final

from recipes.core import paths

if TYPE_CHECKING:
    from recipes.core.tree.znode import ZNode

_PREFIX: Final = b"/zookeeper/quota"
_LIMITS: Final = b"/zookeeper_limits"
_STATS: Final = b"/zookeeper_stats"
_KEYS: Final = (b"count", b"bytes", b"byteHardLimit", b"countHardLimit")
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


class Quotas:
    """The limited subtrees.

    The usage of a subtree is what its stats znode says, as in ZooKeeper: each change below the path adds to it, a
    create of the stats znode counts the subtree anew, and a client that writes the stats znode sets the usage. Without
    a limits znode nothing is counted, without a stats znode nothing is refused.
    active: False while no path has a quota, so that writes can skip the look-up.
    """

    __slots__ = ("_limits", "active")

    def __init__(self) -> None:
        self.active: bool = False
        self._limits: dict[bytes, None] = {}

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
                self._recount(nodes, root)

    def created(self, nodes: "dict[bytes, ZNode]", path: bytes, node: "ZNode") -> None:
        """A znode was created: it may be a quota's own, or count towards one."""
        if path.startswith(_PREFIX + b"/"):
            if path.endswith(_LIMITS):
                self._limit(path[len(_PREFIX) : -len(_LIMITS)])
            elif path.endswith(_STATS):
                self._recount(nodes, path[len(_PREFIX) : -len(_STATS)])
            return
        self._add(nodes, path, 1, len(node.data) if node.data else 0)

    def deleted(self, nodes: "dict[bytes, ZNode]", path: bytes, node: "ZNode") -> None:
        """A znode was deleted."""
        if path.startswith(_PREFIX + b"/"):
            if path.endswith(_LIMITS):
                self._limits.pop(path[len(_PREFIX) : -len(_LIMITS)], None)
                self.active = bool(self._limits)
            return
        self._add(nodes, path, -1, -(len(node.data) if node.data else 0))

    def changed(self, nodes: "dict[bytes, ZNode]", path: bytes, before: bytes | None, after: bytes | None) -> None:
        """A znode's data was changed."""
        if not path.startswith(_PREFIX + b"/"):
            self._add(nodes, path, 0, (len(after) if after else 0) - (len(before) if before else 0))

    def _limit(self, root: bytes) -> None:
        if root:  # a limit for the whole tree is ignored
            self._limits[root] = None
            self.active = True

    def _recount(self, nodes: "dict[bytes, ZNode]", root: bytes) -> None:
        stats = nodes.get(_PREFIX + root + _STATS)
        if stats is None:
            return
        count = size = 0
        left = [root]
        while left:
            node = nodes.get(left.pop())
            if node is not None:
                count += 1
                size += len(node.data) if node.data else 0
                left += node.children or ()
        stats.data = _usage(count, size)

    def _add(self, nodes: "dict[bytes, ZNode]", path: bytes, count: int, size: int) -> None:
        root = self.root_of(path)
        stats = None if root is None else nodes.get(_PREFIX + root + _STATS)
        if stats is not None:
            used = parse(stats.data)
            # Without a txn, as in ZooKeeper: only the data changes, not the Stat.
            stats.data = _usage(used[b"count"] + count, used[b"bytes"] + size)


def _usage(count: int, size: int) -> bytes:
    return b"count=%d,bytes=%d" % (count, size)
