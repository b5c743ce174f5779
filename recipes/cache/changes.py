"""The changes of a cache, as a stream whose backlog is bounded however slow its reader is."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import NamedTuple, Self

from recipes.cache.copy import differs
from recipes.core.client.view import Node


class ChangeKind(Enum):
    """What happened to a znode."""

    ADDED = "added"
    UPDATED = "updated"  # it has other data, or is another znode of the same name
    REMOVED = "removed"


class Change(NamedTuple):
    """A difference between what a reader was told before and what is there now."""

    kind: ChangeKind
    path: str
    node: Node  # as it is now; if removed, as it was last seen


class Changes:
    """`async for change in cache.changes():` each difference from what the reader was told before.

    Differences, not events: of a znode that changed several times before its turn only the outcome is told, and
    a znode that came and went is not told at all. So at most one change waits for each path, even for a slow reader.

    After the last change the iteration raises the error that ended the cache, `cache.error`. Outside the cache's block
    it raises RuntimeError.
    """

    def __init__(self, nodes: Mapping[str, Node], wait: Callable[[], Awaitable[None]], initial: bool, but: str) -> None:
        self._nodes: Mapping[str, Node] = nodes
        self._wait: Callable[[], Awaitable[None]] = wait
        # The changed paths -> their state when the reader was told last.
        self._before: OrderedDict[str, Node | None] = OrderedDict(dict.fromkeys(nodes) if initial else ())
        self._but: str = but
        self._before.pop(but, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while True:
            if (change := self._next()) is not None:
                return change
            await self._wait()

    def note(self, path: str, old: Node | None, new: Node | None) -> None:
        """Note that a path changed."""
        if path == self._but:
            return
        if path not in self._before:
            self._before[path] = old
        elif not differs(self._before[path], new):
            del self._before[path]

    def _next(self) -> Change | None:
        while self._before:
            path, old = self._before.popitem(last=False)
            new = self._nodes.get(path)
            if new is None:
                if old is not None:
                    return Change(ChangeKind.REMOVED, path, old)
            elif old is None:
                return Change(ChangeKind.ADDED, path, new)
            elif differs(old, new):
                return Change(ChangeKind.UPDATED, path, new)
        return None
