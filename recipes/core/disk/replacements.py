"""Keeps the writing and purging of snapshots apart from operations that replace the whole tree."""

from contextlib import AbstractContextManager


class Replacements:
    """Counts the replacements of the tree.

    count: all replacements requested so far. pending: those requested and not yet reported as done.
    lock: a real lock if jobs run in threads, else any context manager.

    The turn's write queue keeps both numbers. A replacement is pending from before the disk gets the request until the
    server has the new tree. A snapshot of the old tree may show txns that the replacement takes back. So no snapshot
    may be begun while a replacement is pending, and one that was begun under an earlier `count` must not be finished.

    The code that names a snapshot holds `lock` while it reads `count`; purging and replacing hold `lock` too. So a
    snapshot that has its name when a replacement begins is kept or removed by it, and any other never gets a name.
    """

    __slots__ = ("count", "lock", "pending")

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self.count: int = 0
        self.pending: int = 0
        self.lock: AbstractContextManager[object] = lock
