"""The end of a session: its ephemeral znodes go at once for all who look, though there may be many thousands.

What takes long is done before: which znodes there are, what they count for, and which children each parent is left
with. The tree, which no txn may change meanwhile, then only has to drop them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from recipes.core import paths
from recipes.core.tree.digest import known_digest
from recipes.core.tree.quota import is_of_quota
from recipes.core.tree.znode import ZNode

if TYPE_CHECKING:
    from recipes.core.tree.tree import DataTree

_SLICE: Final = 500  # znodes, each of which takes about a microsecond
_BLOCK_UNITS: Final = 5  # to look through one block of children


class SessionEnd:
    """What goes when a session ends. Once `slices` are at their end, `DataTree.apply` takes it.

    listed: the paths in the txn. The session's other znodes go, too.
    gone: the znodes, in the order in which their watches fire. foreign: those not the session's, with their owners.
    kept: by the path of each parent, what is left of those blocks of its children in which some go.
    digest, data_bytes: of the znodes together. limited: limited path -> znodes and bytes that it is relieved of.
    """

    __slots__ = ("_listed", "_tree", "data_bytes", "digest", "foreign", "gone", "kept", "limited", "session_id")

    def __init__(self, tree: "DataTree", session_id: int, listed: tuple[bytes, ...] | None) -> None:
        self._tree = tree
        self._listed: tuple[bytes, ...] = listed or ()
        self.session_id: int = session_id
        self.gone: dict[bytes, ZNode] = {}
        self.foreign: list[tuple[bytes, int]] = []
        self.kept: dict[bytes, dict[int, list[bytes]]] = {}
        self.limited: dict[bytes, tuple[int, int]] = {}
        self.digest: int = 0
        self.data_bytes: int = 0

    def look(self) -> None:
        """Look for all of it at once."""
        for _ in self.slices():
            pass

    def slices(self) -> Iterator[int]:
        """Look for what goes, in slices, each with its units of about a microsecond."""
        due = [*self._listed, *self._tree.ephemerals.get(self.session_id, ())]
        _ = self._tree.digest  # from here on each znode is in it as it is now
        for begin in range(0, len(due), _SLICE):
            self._look_at(due[begin : begin + _SLICE])
            yield _SLICE
        for parent_path, blocks in self.kept.items():
            parent = self._tree.find(parent_path)
            children = None if parent is None else parent.children
            for number in blocks:
                if children is not None:
                    blocks[number] = children.without(number, self.gone)
                yield _BLOCK_UNITS

    def _look_at(self, due: list[bytes]) -> None:
        tree, gone, kept, session_id = self._tree, self.gone, self.kept, self.session_id
        nodes, limits = tree.nodes, tree.quotas.active
        for path in due:
            if path in gone:
                continue
            parent_path = path.rpartition(b"/")[0] or paths.ROOT
            blocks = kept.get(parent_path)
            if blocks is None:
                blocks = kept[parent_path] = {}
            node = nodes.get(path) or tree.find(path)
            if node is None:
                continue
            gone[path] = node
            blocks[node.place] = []
            size = len(node.data) if node.data else 0
            self.digest += node.digest if node.digest >= 0 else known_digest(path, node)
            self.data_bytes += len(path) + size
            if node.owner != session_id:
                self.foreign.append((path, node.owner))
            if limits:
                self._relieve(path, size)

    def _relieve(self, path: bytes, size: int) -> None:
        root = self._tree.quotas.root_of(path)
        if root is not None and not is_of_quota(path):
            count, total = self.limited.get(root, (0, 0))
            self.limited[root] = count + 1, total + size
