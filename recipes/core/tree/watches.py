"""Watches. A one-shot watch goes when it fires; a persistent one stays; a recursive one also covers all paths below.

One watcher can have watches of several modes on one path, as since ZooKeeper 3.9. A watcher is any hashable
object. Everything is kept in order of registration, so that events always leave in the same order.
Source: WatchManager.java, WatcherMode.java.
"""

from collections.abc import Iterator
from itertools import islice

from recipes.core import paths
from recipes.core.jute import opcodes as op

_ONCE, _PERSISTENT, _RECURSIVE = 1, 2, 4  # modes, as bits
Found = list[tuple[object, int, bytes]]  # watcher, event type, path


class WatchTable:
    """The data watches and child watches of one server.

    most, most_bytes: paths, and their bytes, that one watcher may have.
    """

    __slots__ = (
        "_by_watcher", "_bytes", "_child", "_child_total", "_data", "_data_total", "_recursive", "most", "most_bytes"
    )  # fmt: skip

    def __init__(self) -> None:
        self._data: dict[bytes, dict[object, int]] = {}  # path -> watcher -> modes
        self._child: dict[bytes, dict[object, int]] = {}
        self._by_watcher: dict[object, dict[bytes, None]] = {}
        self._bytes: dict[object, int] = {}  # of the paths of each watcher
        self._recursive = 0
        self._data_total = self._child_total = 0
        self.most: int = 1 << 62
        self.most_bytes: int = 1 << 62

    def add_data(self, path: bytes, watcher: object) -> None:
        """Watch once for the creation, deletion or change of `path`."""
        self._add(self._data, path, watcher, _ONCE)

    def add_child(self, path: bytes, watcher: object) -> None:
        """Watch once for the deletion of `path` or a change of its list of children."""
        self._add(self._child, path, watcher, _ONCE)

    def add_persistent(self, path: bytes, watcher: object, recursive: bool) -> None:
        """Watch `path` until removed. recursive: also all paths below, but no changes of child lists."""
        if recursive:
            if not self._data.get(path, {}).get(watcher, 0) & _RECURSIVE:
                self._recursive += 1
            self._add(self._data, path, watcher, _RECURSIVE)
        else:
            self._add(self._data, path, watcher, _PERSISTENT)
            self._add(self._child, path, watcher, _PERSISTENT)

    def has(self, path: bytes, watcher: object, kind: int) -> bool:
        """Whether the watcher has a watch of this kind (opcodes.WATCH_*) on `path`."""
        data = self._data.get(path, {}).get(watcher, 0)
        child = self._child.get(path, {}).get(watcher, 0)
        if kind == op.WATCH_DATA:
            return bool(data & _ONCE)
        if kind == op.WATCH_CHILDREN:
            return bool(child & _ONCE)
        if kind == op.WATCH_PERSISTENT:
            return bool(data & _PERSISTENT)
        if kind == op.WATCH_PERSISTENT_RECURSIVE:
            return bool(data & _RECURSIVE)
        return bool(data | child)

    def remove(self, path: bytes, watcher: object, kind: int) -> bool:
        """Remove watches of this kind; False when there was none."""
        if not self.has(path, watcher, kind):
            return False
        data_modes, child_modes = {
            op.WATCH_DATA: (_ONCE, 0),
            op.WATCH_CHILDREN: (0, _ONCE),
            op.WATCH_PERSISTENT: (_PERSISTENT, _PERSISTENT),
            op.WATCH_PERSISTENT_RECURSIVE: (_RECURSIVE, 0),
        }.get(kind, (-1, -1))
        self._drop(self._data, path, watcher, data_modes)
        self._drop(self._child, path, watcher, child_modes)
        return True

    def is_full(self, watcher: object) -> bool:
        """Whether the watcher may have no more watches."""
        return len(self._by_watcher.get(watcher, ())) >= self.most or self._bytes.get(watcher, 0) >= self.most_bytes

    def forget(self, watcher: object, most: int) -> bool:
        """Remove the watches of a watcher that is gone, on at most so many paths. Return whether none is left."""
        for path in list(islice(self._by_watcher.get(watcher, ()), most)):
            self._drop(self._data, path, watcher, -1)
            self._drop(self._child, path, watcher, -1)
        return watcher not in self._by_watcher

    def fire_created(self, path: bytes) -> Found:
        """Fire the watches that a creation concerns, and return their events in order of delivery."""
        if not self._by_watcher:
            return []
        found = self._fire(self._data, op.EVENT_CREATED, path)
        return found + self._fire(self._child, op.EVENT_CHILDREN, paths.parent(path))

    def fire_deleted(self, path: bytes) -> Found:
        """Fire those of a deletion: each watcher of the znode gets one event."""
        if not self._by_watcher:
            return []
        if not (self._recursive or path in self._data or path in self._child or paths.parent(path) in self._child):
            return []
        found = self._fire(self._data, op.EVENT_DELETED, path)
        told = {watcher: None for watcher, _, _ in found}
        found += [event for event in self._fire(self._child, op.EVENT_DELETED, path) if event[0] not in told]
        return found + self._fire(self._child, op.EVENT_CHILDREN, paths.parent(path))

    def fire_data_changed(self, path: bytes) -> Found:
        """Fire those of a change of data."""
        if not self._by_watcher:
            return []
        return self._fire(self._data, op.EVENT_DATA, path)

    # For operators.

    def summary(self) -> tuple[int, int, int]:
        """How many connections, paths and watches there are, of data watches only, as in `wchs`."""
        watchers = sum(any(self._paths_of(watcher)) for watcher in self._by_watcher)
        return watchers, len(self._data), self._data_total

    @property
    def total(self) -> int:
        """How many watches there are of both kinds."""
        return self._data_total + self._child_total

    def by_path(self) -> Iterator[tuple[bytes, list[object]]]:
        """Each path with its data watchers. Watches may change between two of them."""
        for path in list(self._data):
            watchers = list(self._data.get(path, ()))
            if watchers:
                yield path, watchers

    def by_watcher(self) -> Iterator[tuple[object, Iterator[bytes]]]:
        """Each data watcher with its paths. Watches may change between two of them."""
        for watcher in list(self._by_watcher):
            if any(self._paths_of(watcher)):
                yield watcher, self._paths_of(watcher)

    def _paths_of(self, watcher: object) -> Iterator[bytes]:
        """The paths of one data watcher; none of them is empty."""
        for path in list(self._by_watcher.get(watcher, ())):
            if watcher in self._data.get(path, ()):
                yield path

    # Inside.

    def _add(self, tables: dict[bytes, dict[object, int]], path: bytes, watcher: object, mode: int) -> None:
        table = tables.setdefault(path, {})
        modes = table.get(watcher, 0)
        table[watcher] = modes | mode
        if modes:
            return
        self._count(tables, 1)
        watched = self._by_watcher.setdefault(watcher, {})
        if path not in watched:
            watched[path] = None
            self._bytes[watcher] = self._bytes.get(watcher, 0) + len(path)

    def _drop(self, tables: dict[bytes, dict[object, int]], path: bytes, watcher: object, modes: int) -> None:
        table = tables.get(path)
        if table is None or watcher not in table:
            return
        if tables is self._data and table[watcher] & modes & _RECURSIVE:
            self._recursive -= 1
        left = table[watcher] & ~modes
        if left:
            table[watcher] = left
            return
        del table[watcher]
        self._count(tables, -1)
        if not table:
            del tables[path]
        other = self._child if tables is self._data else self._data
        if watcher not in other.get(path, ()):
            watched = self._by_watcher[watcher]
            del watched[path]
            self._bytes[watcher] -= len(path)
            if not watched:
                del self._by_watcher[watcher], self._bytes[watcher]

    def _count(self, tables: dict[bytes, dict[object, int]], more: int) -> None:
        if tables is self._data:
            self._data_total += more
        else:
            self._child_total += more

    def _fire(self, tables: dict[bytes, dict[object, int]], kind: int, path: bytes) -> Found:
        found: Found = []
        table = tables.get(path)
        if table:
            for watcher, modes in list(table.items()):
                if modes & ~_RECURSIVE or kind != op.EVENT_CHILDREN:
                    found.append((watcher, kind, path))
                if modes & _ONCE:
                    self._drop(tables, path, watcher, _ONCE)
        if self._recursive and tables is self._data:
            told = {watcher: None for watcher, _, _ in found}
            above = path
            while above != paths.ROOT:
                above = paths.parent(above)
                for watcher, modes in self._data.get(above, {}).items():
                    if modes & _RECURSIVE and watcher not in told:
                        told[watcher] = None
                        found.append((watcher, kind, path))
        return found
