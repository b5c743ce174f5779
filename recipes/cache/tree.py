"""A subtree in memory."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from recipes.cache.cache import Cache
from recipes.core.client.view import Node
from recipes.core.errors import BadArguments

if TYPE_CHECKING:
    from recipes.core.client.client import Client


class TreeCache(Cache, Mapping[str, Node]):
    """`async with TreeCache(client, "/config") as cache:` the znode and all znodes below it, by path.

    client: a connected Client. path: it need not exist. max_depth: levels below `path` that are kept; all by default, 0
    for `path` alone. See `Cache` for the guarantee and the errors.

    One watch serves the whole tree (ZooKeeper 3.6 and later). At an older server each znode has two watches; the
    content is the same.
    """

    _recursive = True

    def __init__(self, client: "Client", path: str, *, max_depth: int | None = None) -> None:
        if max_depth is not None and (not isinstance(max_depth, int) or isinstance(max_depth, bool) or max_depth < 0):
            raise BadArguments(path, f"max_depth={max_depth!r}: expected a number of levels, from 0 on, or None")
        super().__init__(client, path, math.inf if max_depth is None else max_depth, recursive=self._recursive)

    def __getitem__(self, path: str) -> Node:
        return self._mirror.copy.nodes[path]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._mirror.copy.nodes))

    def __len__(self) -> int:
        return len(self._mirror.copy.nodes)

    def __contains__(self, path: object) -> bool:
        return path in self._mirror.copy.nodes

    def paths(self) -> list[str]:
        """The path of every znode, sorted."""
        return sorted(self._mirror.copy.nodes)

    def children(self, path: str) -> dict[str, Node] | None:
        """The children of a znode by name, sorted; None when there is no such znode, {} when it has none.

        `state` says whether this is current or may be out of date.
        """
        copy = self._mirror.copy
        if path not in copy.nodes:
            return None
        return {child.rpartition("/")[2]: copy.nodes[child] for child in copy.children(path)}
