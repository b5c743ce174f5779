"""The watches of connections that are gone: they go in slices, as there may be millions."""

from collections import deque

from recipes.core.tree.watches import WatchTable

_MOST_FORGOTTEN: int = 2000  # watches at once


class Leaving:
    """Connections that are gone, but not yet all of their watches; the first to go comes first."""

    __slots__ = ("_watches", "waiting")

    def __init__(self, watches: WatchTable) -> None:
        self._watches = watches
        self.waiting: deque[object] = deque()

    def add(self, watcher: object) -> None:
        """This one is gone."""
        if self._watches.count_of(watcher):
            self.waiting.append(watcher)

    def go_on(self) -> int:
        """Remove watches until some time has passed; return how many, each of which takes about a microsecond."""
        waiting, watches, left = self.waiting, self._watches, _MOST_FORGOTTEN
        while waiting and left > 0:
            watcher, most = waiting[0], left
            left -= watches.count_of(watcher)
            if watches.forget(watcher, most):
                waiting.popleft()
        return _MOST_FORGOTTEN - max(0, left)
