"""The znodes of a tree by their paths: as objects where they may change soon, else packed."""

from collections import deque
from collections.abc import Iterator

from recipes.core.tree.acl import AclTable
from recipes.core.tree.children import Children
from recipes.core.tree.digest import known_digest
from recipes.core.tree.packed import PACKED_BYTES, pack_node, unpack
from recipes.core.tree.znode import ZNODE_BYTES, ZNode

_MOST_YOUNG: int = 50_000  # znodes that wait to be packed


class ZNodes:
    """Every znode by its path.

    nodes: those with children or an owner, and those that were created or changed lately; root is b"/". In order of
        creation. packed: the others, as packed.py has them; one that is in `nodes`, too, is out of date here.
    count: of all znodes. most_young: so many that were created or changed lately are not packed.
    """

    def __init__(self) -> None:
        self.acls: AclTable = AclTable()
        self.most_young: int = _MOST_YOUNG
        self.empty()

    def empty(self) -> None:
        """Have no znodes, not even a root."""
        self.nodes: dict[bytes, ZNode] = {}
        self.packed: dict[bytes, bytes] = {}
        self.count: int = 0
        self.young: deque[bytes] = deque()  # to be packed, the oldest first

    def find(self, path: bytes) -> ZNode | None:
        """The znode at `path`, to look at: it may be a copy."""
        node = self.nodes.get(path)
        if node is None and path in self.packed:
            return unpack(self.packed[path], self.acls)
        return node

    def items(self) -> Iterator[tuple[bytes, ZNode]]:
        """Every znode with its path, to look at."""
        for path, record in self.packed.items():
            if path not in self.nodes:
                yield path, unpack(record, self.acls)
        yield from self.nodes.items()

    def walk(self, path: bytes, most: int) -> Iterator[list[bytes]]:
        """The path and all below it, in lists of so many, each behind its parent.

        The tree may change between two lists. Znodes that are created meanwhile may be among them or not.
        """
        nodes, found = self.nodes, [path]
        node = nodes.get(path)
        stack = [] if node is None or node.children is None else [node.children.each()]
        while stack:
            if len(found) >= most:
                yield found
                found = []
            each = next(stack[-1], None)
            if each is None:
                stack.pop()
                continue
            found.append(each)
            child = nodes.get(each)
            if child is not None and child.children is not None:
                stack.append(child.children.each())
        if found:
            yield found

    def znodes_bytes(self) -> int:
        """About how much memory they take without their paths and data."""
        return ZNODE_BYTES * len(self.nodes) + PACKED_BYTES * len(self.packed)

    def unpacked(self, path: bytes) -> ZNode | None:
        """The znode at `path`, to be changed."""
        node = self.nodes.get(path)
        if node is None and path in self.packed:
            node = self.nodes[path] = unpack(self.packed[path], self.acls)
            self.young.append(path)
        return node

    def warmed(self, path: bytes) -> ZNode | None:
        """The znode at the path of a packed one that is read; None if no more may be unpacked for that now.

        Those that are read again and again are found at once then, and a client that reads all of them fills no memory.
        """
        return self.unpacked(path) if len(self.young) < 2 * self.most_young else None

    def pack_some(self, most: int) -> None:
        """Pack so many of those that were not created or unpacked lately, unless they have children by now."""
        young, nodes, packed, acls = self.young, self.nodes, self.packed, self.acls
        for _ in range(min(most, len(young) - self.most_young)):
            path = young.popleft()
            node = nodes.get(path)
            if node is None or node.children is not None or node.owner:
                continue
            if not path.startswith(b"/zookeeper"):  # where nothing is worth it
                packed[path] = pack_node(node, known_digest(path, node), acls)
                del nodes[path]

    def link(self, path: bytes, node: ZNode, parent_path: bytes, parent: ZNode) -> None:
        """Add a znode to the children of its parent."""
        children = parent.children
        if children is None:
            children = parent.children = Children()
            self.packed.pop(parent_path, None)  # it is out of date, and stays so
        node.place = children.add(path)
