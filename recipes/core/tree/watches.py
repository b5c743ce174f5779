"""Watches. A one-shot watch goes when it fires; a persistent one stays; a recursive one also covers all paths below.

One watcher can have watches of several modes on one path, as since ZooKeeper 3.9. A watcher is any hashable
object. Everything is kept in order of registration, so that events always leave in the same order.
Source: WatchManager.java, WatcherMode.java.
"""

from collections.abc import Iterable, Iterator, Mapping

from recipes.core import paths
from recipes.core.jute import opcodes as op

_ONCE, _PERSISTENT, _RECURSIVE = 1, 2, 4  # modes, as bits
Found = list[tuple[object, int, bytes]]  # watcher, event type, path
# By path: the watcher itself where there is one, with a one-shot watch, as nearly always; else watcher -> modes.
Table = dict[bytes, object]


class WatchTable:
    """The data watches and child watches of one server.

    watchers: each with its paths; empty while nobody watches. A watcher is not itself a dict.
    most, most_bytes: paths, and their bytes, that one watcher may have.
    """

    __slots__ = (
        "_bytes", "_child", "_child_total", "_data", "_data_total", "_recursive", "most", "most_bytes", "watchers"
    )  # fmt: skip

    def __init__(self) -> None:
        self._data: Table = {}
        self._child: Table = {}
        self.watchers: dict[object, dict[bytes, None]] = {}
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
            if not _modes(self._data, path, watcher) & _RECURSIVE:
                self._recursive += 1
            self._add(self._data, path, watcher, _RECURSIVE)
        else:
            self._add(self._data, path, watcher, _PERSISTENT)
            self._add(self._child, path, watcher, _PERSISTENT)

    def has(self, path: bytes, watcher: object, kind: int) -> bool:
        """Whether the watcher has a watch of this kind (opcodes.WATCH_*) on `path`."""
        data, child = _modes(self._data, path, watcher), _modes(self._child, path, watcher)
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
        return len(self.watchers.get(watcher, ())) >= self.most or self._bytes.get(watcher, 0) >= self.most_bytes

    def count_of(self, watcher: object) -> int:
        """On how many paths the watcher has watches."""
        return len(self.watchers.get(watcher, ()))

    def forget(self, watcher: object, most: int) -> bool:
        """Remove the watches of a watcher that is gone, on at most so many paths. Return whether none is left."""
        watched = self.watchers.get(watcher)
        if watched is None:
            return True
        for _ in range(min(most, len(watched))):
            path, _ = watched.popitem()  # the last one: a search for the first one would pass all places left empty
            self._take(self._data, path, watcher, -1)
            self._take(self._child, path, watcher, -1)
            self._bytes[watcher] -= len(path)
        if watched:
            return False
        del self.watchers[watcher], self._bytes[watcher]
        return True

    def fire_created(self, path: bytes) -> Found:
        """Fire the watches that a creation concerns, and return their events in order of delivery."""
        if not self.watchers:
            return []
        found = self._fire(self._data, op.EVENT_CREATED, path)
        return found + self._fire(self._child, op.EVENT_CHILDREN, paths.parent(path))

    def fire_deleted(self, path: bytes) -> Found:
        """Fire those of a deletion: each watcher of the znode gets one event."""
        if not self.watchers:
            return []
        if not (self._recursive or path in self._data or path in self._child or paths.parent(path) in self._child):
            return []
        found = self._fire(self._data, op.EVENT_DELETED, path)
        told = {watcher: None for watcher, _, _ in found}
        found += [event for event in self._fire(self._child, op.EVENT_DELETED, path) if event[0] not in told]
        return found + self._fire(self._child, op.EVENT_CHILDREN, paths.parent(path))

    def concerned(self, gone: Mapping[bytes, object], parents: Iterable[bytes]) -> list[bytes]:
        """Those of many paths, deleted together, for which `fire_deleted` has something to do, in their order.

        parents: of all of them.
        """
        if not self.watchers:
            return []
        if self._recursive:
            return list(gone)
        watched = {path: self._lasts(path) for path in parents if path in self._child}
        found = (self._data.keys() & gone.keys()) | (self._child.keys() & gone.keys())
        concerned = []
        for path in gone if found or watched else ():
            if path in found:
                concerned.append(path)
            elif watched and (above := paths.parent(path)) in watched:
                concerned.append(path)
                if not watched[above]:  # the first child that goes fires all of these
                    del watched[above]
        return concerned

    def fire_data_changed(self, path: bytes) -> Found:
        """Fire those of a change of data."""
        if not self.watchers:
            return []
        return self._fire(self._data, op.EVENT_DATA, path)

    # For operators.

    def summary(self) -> tuple[int, int, int]:
        """How many connections, paths and watches there are, of data watches only, as in `wchs`."""
        watchers = sum(any(self._paths_of(watcher)) for watcher in self.watchers)
        return watchers, len(self._data), self._data_total

    @property
    def total(self) -> int:
        """How many watches there are of both kinds."""
        return self._data_total + self._child_total

    def by_path(self) -> Iterator[tuple[bytes, list[object]]]:
        """Each path with its data watchers. Watches may change between two of them."""
        for path in list(self._data):
            watchers = _watchers(self._data, path)
            if watchers:
                yield path, watchers

    def by_watcher(self) -> Iterator[tuple[object, Iterator[bytes]]]:
        """Each data watcher with its paths. Watches may change between two of them."""
        for watcher in list(self.watchers):
            if any(self._paths_of(watcher)):
                yield watcher, self._paths_of(watcher)

    def _paths_of(self, watcher: object) -> Iterator[bytes]:
        """The paths of one data watcher; none of them is empty."""
        for path in list(self.watchers.get(watcher, ())):
            if _modes(self._data, path, watcher):
                yield path

    # Inside.

    def _lasts(self, path: bytes) -> bool:
        """Whether a child watch on this path stays when it fires."""
        return any(_modes(self._child, path, watcher) & _PERSISTENT for watcher in _watchers(self._child, path))

    def _add(self, table: Table, path: bytes, watcher: object, mode: int) -> None:
        found = table.get(path)
        if found is None:
            table[path] = watcher if mode == _ONCE else {watcher: mode}
        elif isinstance(found, dict):
            modes = found.get(watcher, 0)
            found[watcher] = modes | mode
            if modes:
                return
        elif found == watcher:
            if mode != _ONCE:
                table[path] = {watcher: _ONCE | mode}
            return
        else:
            table[path] = {found: _ONCE, watcher: mode}
        self._count(table, 1)
        watched = self.watchers.setdefault(watcher, {})
        if path not in watched:
            watched[path] = None
            self._bytes[watcher] = self._bytes.get(watcher, 0) + len(path)

    def _drop(self, table: Table, path: bytes, watcher: object, modes: int) -> None:
        if not self._take(table, path, watcher, modes):
            return
        if not _modes(self._child if table is self._data else self._data, path, watcher):
            watched = self.watchers[watcher]
            del watched[path]
            self._bytes[watcher] -= len(path)
            if not watched:
                del self.watchers[watcher], self._bytes[watcher]

    def _take(self, table: Table, path: bytes, watcher: object, modes: int) -> bool:
        """Remove these modes from one table. Return whether the watcher has lost its last one there."""
        found = table.get(path)
        if found is None:
            return False
        if isinstance(found, dict):
            had: int = found.get(watcher, 0)
            if not had:
                return False
            if table is self._data and had & modes & _RECURSIVE:
                self._recursive -= 1
            if had & ~modes:
                found[watcher] = had & ~modes
                return False
            del found[watcher]
            if not found:
                del table[path]
        elif found != watcher or not modes & _ONCE:
            return False
        else:
            del table[path]
        self._count(table, -1)
        return True

    def _count(self, table: Table, more: int) -> None:
        if table is self._data:
            self._data_total += more
        else:
            self._child_total += more

    def _fire(self, table: Table, kind: int, path: bytes) -> Found:
        found: Found = []
        watched = table.get(path)
        if isinstance(watched, dict):
            for watcher, modes in list(watched.items()):
                if modes & ~_RECURSIVE or kind != op.EVENT_CHILDREN:
                    found.append((watcher, kind, path))
                if modes & _ONCE:
                    self._drop(table, path, watcher, _ONCE)
        elif watched is not None:
            found.append((watched, kind, path))
            self._drop(table, path, watched, _ONCE)
        if self._recursive and table is self._data:
            told = {watcher: None for watcher, _, _ in found}
            above = path
            while above != paths.ROOT:
                above = paths.parent(above)
                for watcher in _watchers(table, above):
                    if _modes(table, above, watcher) & _RECURSIVE and watcher not in told:
                        told[watcher] = None
                        found.append((watcher, kind, path))
        return found


def _modes(table: Table, path: bytes, watcher: object) -> int:
    """The modes of the watcher's watches on this path, as in the table."""
    found = table.get(path)
    if isinstance(found, dict):
        modes: int = found.get(watcher, 0)
        return modes
    return _ONCE if found is not None and found == watcher else 0


def _watchers(table: Table, path: bytes) -> list[object]:
    found = table.get(path)
    if isinstance(found, dict):
        return list(found)
    return [] if found is None else [found]
