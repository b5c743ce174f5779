"""The children of one znode in memory."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from recipes.cache.cache import Cache
from recipes.cache.changes import Changes
from recipes.core import paths
from recipes.core.client.view import Node

if TYPE_CHECKING:
    from recipes.core.client.client import Client


class ChildrenCache(Cache, Mapping[str, Node]):
    """`async with ChildrenCache(client, "/workers") as cache:` the children of a znode, with data and Stat, by name.

    client: a connected Client. path: the parent; it need not exist. See `Cache` for the guarantee and the errors.

    One watch covers the parent and all znodes below it (ZooKeeper 3.6 and later). So events from further below arrive
    as well; they are ignored.
    """

    def __init__(self, client: "Client", path: str) -> None:
        super().__init__(client, path, 1, recursive=True)

    def __getitem__(self, name: str) -> Node:
        return self._mirror.copy.nodes[paths.join(self.path, name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        nodes = self._mirror.copy.nodes
        return len(nodes) - (self.path in nodes)

    @property
    def parent(self) -> Node | None:
        """The parent itself; None when there is no such znode, and then there are no children either."""
        return self._mirror.copy.nodes.get(self.path)

    def names(self) -> list[str]:
        """The names of the children, sorted."""
        return [child.rpartition("/")[2] for child in self._mirror.copy.children(self.path)]

    def changes(self, *, initial: bool = False) -> Changes:
        """Changes of the children, the parent left out; see `Cache.changes`."""
        return self._mirror.changes(initial, but=self.path)
