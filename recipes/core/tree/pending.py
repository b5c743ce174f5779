"""The tree as it will be once every txn under way is applied."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from recipes.core import paths
from recipes.core.tree.digest import known_digest, node_digest
from recipes.core.tree.pending_znode import PendingZNode, Removal, copy_of
from recipes.core.tree.tree import DataTree
from recipes.core.tree.znode import ZNode

_DIGEST_MASK: Final = (1 << 64) - 1
_SLICE: Final = 500  # znodes


class Pending:
    """Keeps, for every path with changes under way, a PendingZNode: the znode as it will be.

    counts_quotas: whether to count what these txns will add below limited paths.
    digest: of the tree once all of them are applied.
    removed: applied removals for `forget_some`.
    """

    __slots__ = (
        "_changes", "_counts_quotas", "_owned", "_quotas", "_tree", "_under_way", "_undo", "digest", "removed"
    )  # fmt: skip

    def __init__(self, tree: DataTree, counts_quotas: bool) -> None:
        self._tree = tree
        self._counts_quotas = counts_quotas
        self._quotas = UnderWay()
        self._changes: dict[bytes, PendingZNode] = {}
        self._under_way: deque[PendingZNode] = deque()  # all of them, in the order of their txns
        self._owned: dict[int, dict[bytes, PendingZNode]] = {}  # owner -> those of them that will be there
        self.removed: deque[Removal] = deque()
        self._undo: list[tuple[bytes, PendingZNode | None]] | None = None  # while a multi is being made
        self.digest: int = tree.digest

    def find(self, path: bytes) -> ZNode | None:
        """The znode at `path` as it will be, None when it will not be there. Not to be modified: `copy_of` it."""
        change = self._changes.get(path)
        if change is None:
            tree = self._tree
            return tree.nodes.get(path) or (tree.find(path) if tree.packed else None)
        return change if change.exists else None

    def put(self, path: bytes, before: ZNode | None, after: PendingZNode, zxid: int) -> None:
        """Record that `path` goes from `before` to `after`, and carry the digest along."""
        if self._undo is not None:
            self._undo.append((path, self._changes.get(path)))
        after.path = path
        after.zxid = zxid
        after.digest = node_digest(path, after) if after.exists else 0
        removed = 0
        if before is not None:
            removed = before.digest if before.digest >= 0 else known_digest(path, before)
        self.digest = (self.digest + after.digest - removed) & _DIGEST_MASK
        self._changes[path] = after
        if after.owner and after.exists:
            self._owned.setdefault(after.owner, {})[path] = after
        self._under_way.append(after)
        if self._counts_quotas and self._tree.quotas.active:
            self._count_ahead(path, before, after, zxid)

    def remove_all(self, gone_paths: list[bytes], zxid: int) -> Iterator[int]:
        """Record that these znodes, which have no children, will be gone, in slices, each with its units."""
        counts = self._counts_quotas and self._tree.quotas.active
        gone = Removal(gone_paths, zxid)
        parents: dict[bytes, int] = {}
        removed = 0
        for begin in range(0, len(gone_paths), _SLICE):
            for path in gone_paths[begin : begin + _SLICE]:
                node = self.find(path)
                if node is None:
                    continue
                removed += node.digest if node.digest >= 0 else known_digest(path, node)
                above = paths.parent(path)
                parents[above] = parents.get(above, 0) + 1
                self._changes[path] = gone
                if counts:
                    self._count_ahead(path, node, gone, zxid)
            yield _SLICE
        for above, count in parents.items():
            parent = self.find(above)
            if parent is not None:
                after = copy_of(parent)
                after.pzxid = zxid
                after.child_count -= count
                self.put(above, parent, after, zxid)
        self.digest = (self.digest - removed) & _DIGEST_MASK
        self._under_way.append(gone)

    def under_way_bytes(self) -> int:
        """How much data the txns under way carry."""
        return sum(len(change.data) for change in self._under_way if change.data)

    def owned_by(self, session_id: int) -> list[bytes]:
        """The ephemeral znodes that the session will own.

        Txns under way may give a path to the session or take it away, also to create another session's znode there.
        """
        changes, held = self._changes, self._tree.ephemerals.get(session_id, {})
        owned = [path for path in held if path not in changes]
        owned += [path for path, change in self._owned.get(session_id, {}).items() if changes.get(path) is change]
        return owned

    def exceeds_quota(self, path: bytes, count: int, size: int) -> bool:
        """Whether `count` more znodes or `size` more bytes at `path` break a hard limit."""
        quotas = self._tree.quotas
        root = quotas.root_of(path)
        return root is not None and quotas.exceeds(self._tree.nodes, root, count, size, self._quotas.of(root))

    @property
    def in_multi(self) -> bool:
        """Whether a multi is being made."""
        return self._undo is not None

    def begin_multi(self) -> None:
        """Record the changes from here on, to be able to undo them."""
        self._undo = []

    def end_multi(self) -> None:
        """Stop recording; changes that were not undone stay."""
        self._undo = None

    def undo(self, zxid: int, digest: int) -> None:
        """Take back all changes of the multi. digest: of before the multi."""
        applied = self._tree.last_zxid
        for path, before in reversed(self._undo or ()):
            undone = self._changes.pop(path, None)
            if undone is not None:
                self._disown(path, undone)
            if before is not None and before.zxid > applied:  # since the multi was begun, the tree may have got it
                self._changes[path] = before
                if before.owner and before.exists:
                    self._owned.setdefault(before.owner, {})[path] = before
        self.digest = digest
        while self._under_way and self._under_way[-1].zxid == zxid:
            self._under_way.pop()
        self._quotas.undo(zxid)

    def applied(self, zxid: int) -> None:
        """Forget the changes up to `zxid`: the tree has them now."""
        under_way, changes, nodes = self._under_way, self._changes, self._tree.nodes
        while under_way and under_way[0].zxid <= zxid:
            change = under_way.popleft()
            path = change.path
            if change.owner:
                self._disown(path, change)
            if changes.get(path) is change:
                del changes[path]
                node = nodes.get(path) if change.exists else None
                if node is not None:  # nor packed meanwhile
                    node.digest = change.digest
            elif type(change) is Removal:
                self.removed.append(change)
                self.forget_some(_SLICE)
        if self._counts_quotas:
            self._quotas.applied(zxid)

    def forget_some(self, most: int) -> None:
        """Forget so many of the znodes that are gone. To know them still does no harm: the tree says the same."""
        removed, changes = self.removed, self._changes
        while removed and most > 0:
            change, some = removed[0], removed[0].paths[-most:]
            del change.paths[-most:]
            for path in some:
                if changes.get(path) is change:
                    del changes[path]
            most -= len(some)
            if not change.paths:
                removed.popleft()

    def _disown(self, path: bytes, change: PendingZNode) -> None:
        owned = self._owned.get(change.owner)
        if owned is not None and owned.get(path) is change:
            del owned[path]
            if not owned:
                del self._owned[change.owner]

    def _count_ahead(self, path: bytes, before: ZNode | None, after: PendingZNode, zxid: int) -> None:
        """Remember what the change at `path` adds to its quota, until the tree counts it."""
        root = self._tree.quotas.root_of(path)
        if root is not None:
            count = after.exists - (before is not None)
            size = len(after.data or b"") * after.exists - len(before.data or b"" if before else b"")
            self._quotas.add(zxid, root, count, size)


class UnderWay:
    """What the txns under way will add below each limited path: pipelined requests must not exceed it together."""

    __slots__ = ("_changes", "_sums")

    def __init__(self) -> None:
        self._changes: deque[tuple[int, bytes, int, int]] = deque()  # zxid, limited path, znodes, bytes
        self._sums: dict[bytes, list[int]] = {}

    def of(self, root: bytes) -> tuple[int, int]:
        """How many znodes and bytes will be added below a limited path."""
        count, size = self._sums.get(root, (0, 0))
        return count, size

    def add(self, zxid: int, root: bytes, count: int, size: int) -> None:
        """The txn `zxid` will add `count` znodes and `size` bytes below `root`."""
        self._changes.append((zxid, root, count, size))
        self._sum(root, count, size)

    def applied(self, zxid: int) -> None:
        """Forget the txns up to `zxid`: the tree's own stats count them now."""
        while self._changes and self._changes[0][0] <= zxid:
            _, root, count, size = self._changes.popleft()
            self._sum(root, -count, -size)

    def undo(self, zxid: int) -> None:
        """Forget the txn `zxid`, the last one: it was undone."""
        while self._changes and self._changes[-1][0] == zxid:
            _, root, count, size = self._changes.pop()
            self._sum(root, -count, -size)

    def _sum(self, root: bytes, count: int, size: int) -> None:
        sums = self._sums.setdefault(root, [0, 0])
        sums[0] += count
        sums[1] += size
        if sums == [0, 0]:
            del self._sums[root]
