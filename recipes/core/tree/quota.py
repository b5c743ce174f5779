"""Quotas: how much may be, and how much is, below a path.

Limits for /p are the data of /zookeeper/quota/p/zookeeper_limits, usage that of .../zookeeper_stats, which every
server keeps up to date by itself. Source: StatsTrack.java, DataTree.java.
"""

import re
from typing import TYPE_CHECKING

from recipes.core import paths

if TYPE_CHECKING:
    from recipes.core.tree.tree import DataTree
    from recipes.core.tree.znode import ZNode

_PREFIX = b"/zookeeper/quota"
_LIMITS = b"/zookeeper_limits"
_STATS = b"/zookeeper_stats"
_KEYS = (b"count", b"bytes", b"byteHardLimit", b"countHardLimit")
_NUMBER = re.compile(rb"(-?[0-9]{1,18})=*")  # clients put a stray = where the hard limits begin


def parse(data: bytes | None) -> dict[bytes, int]:
    """The numbers in a limits or stats znode; a missing or unreadable one is -1, which is no limit.

    Never raises: the txn with such data is already in every log.
    """
    found = dict.fromkeys(_KEYS, -1)
    for part in (data or b"").replace(b";", b",").split(b","):
        key, _, number = part.partition(b"=")
        matched = _NUMBER.fullmatch(number)
        if key in found and matched:
            found[key] = int(matched[1])
    return found


class Quotas:
    """The limited subtrees and what is in them.

    active: False while no path has a quota, so that writes need not ask.
    """

    __slots__ = ("_limits", "_usage", "active")

    def __init__(self) -> None:
        self.active = False
        self._limits: dict[bytes, dict[bytes, int]] = {}
        self._usage: dict[bytes, list[int]] = {}  # znodes and bytes

    def root_of(self, path: bytes) -> bytes | None:
        """The nearest limited path at or above `path`."""
        while self.active:
            if path in self._limits:
                return path
            if path == paths.ROOT:
                break
            path = paths.parent(path)
        return None

    def exceeds(self, root: bytes, count: int, size: int) -> bool:
        """Whether so many more znodes and bytes break a hard limit of `root`."""
        limits, usage = self._limits[root], self._usage.get(root, [0, 0])
        most_count, most_size = limits[b"countHardLimit"], limits[b"byteHardLimit"]
        return (-1 < most_count < usage[0] + count and count > 0) or (-1 < most_size < usage[1] + size and size > 0)

    def load(self, tree: "DataTree") -> None:
        """Find the quotas of a tree just read from disk."""
        for path, node in tree.nodes.items():
            if path.startswith(_PREFIX + b"/") and path.endswith(_LIMITS):
                self._set_limits(tree, path, node.data)
                # A snapshot may hold a usage written before znodes that it also holds.
                self._write(tree, path[len(_PREFIX) : -len(_LIMITS)])

    def created(self, tree: "DataTree", path: bytes, node: "ZNode") -> None:
        """A znode came into being: it may be a quota, and it may count."""
        if path.startswith(_PREFIX + b"/"):
            if path.endswith(_LIMITS):
                self._set_limits(tree, path, node.data)
            elif path.endswith(_STATS):
                root = path[len(_PREFIX) : -len(_STATS)]
                self._recount(tree, root)
                self._write(tree, root)
            return
        self._add(tree, path, 1, len(node.data) if node.data else 0)

    def deleted(self, tree: "DataTree", path: bytes, node: "ZNode") -> None:
        """A znode is gone."""
        if path.startswith(_PREFIX + b"/"):
            if path.endswith(_LIMITS):
                self._limits.pop(path[len(_PREFIX) : -len(_LIMITS)], None)
                self.active = bool(self._limits)
            return
        self._add(tree, path, -1, -(len(node.data) if node.data else 0))

    def changed(self, tree: "DataTree", path: bytes, before: bytes | None, after: bytes | None) -> None:
        """A znode has other data."""
        if path.startswith(_PREFIX + b"/"):
            if path.endswith(_LIMITS):
                self._set_limits(tree, path, after)
            return
        self._add(tree, path, 0, (len(after) if after else 0) - (len(before) if before else 0))

    def _set_limits(self, tree: "DataTree", path: bytes, data: bytes | None) -> None:
        root = path[len(_PREFIX) : -len(_LIMITS)]
        self._limits[root] = parse(data)
        self.active = True
        self._recount(tree, root)

    def _recount(self, tree: "DataTree", root: bytes) -> None:
        count = size = 0
        left = [root]
        while left:
            node = tree.nodes.get(left.pop())
            if node is not None:
                count += 1
                size += len(node.data) if node.data else 0
                left += node.children or ()
        self._usage[root] = [count, size]

    def _add(self, tree: "DataTree", path: bytes, count: int, size: int) -> None:
        root = self.root_of(path)
        if root is None:
            return
        usage = self._usage.setdefault(root, [0, 0])
        usage[0] += count
        usage[1] += size
        self._write(tree, root)

    def _write(self, tree: "DataTree", root: bytes) -> None:
        """Put the usage into its znode: without a txn, as every server does, so only the data changes."""
        node = tree.nodes.get(_PREFIX + root + _STATS)
        if node is not None:
            usage = self._usage[root]
            node.data = b"count=%d,bytes=%d" % (usage[0], usage[1])
