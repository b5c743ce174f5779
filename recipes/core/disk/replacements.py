"""Keeps snapshots that are being written or removed out of the way of what replaces the whole tree."""

from contextlib import AbstractContextManager


class Replacements:
    """The replacements of the tree that were asked for and not yet reported, and how many there were in all.

    lock: a lock where jobs are done in threads, else any context.

    Both are counted by the turn: from before the disk hears of a replacement until the server has the new tree. A
    snapshot that was begun under an earlier count must not be finished, and none may be begun while a replacement is
    pending: a snapshot of the old tree may show what is being taken back. Whoever gives a file its name or removes one
    looks at the count while holding `lock`, and the replacing itself holds it too; so either the name is there when the
    replacing begins, which then judges it, or it never comes to be.
    """

    __slots__ = ("count", "lock", "pending")

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self.count: int = 0
        self.pending: int = 0
        self.lock: AbstractContextManager[object] = lock
