"""Keeps those who write or remove snapshots out of the way of what replaces the whole tree."""

import threading


class Replacements:
    """The replacements of the tree that were asked for and not yet reported, and how many there were in all.

    Both are counted on the loop: from before the disk hears of one until the server has the new tree. What was begun
    under an earlier count must not be finished, and nothing may be begun while one is pending: a snapshot of the old
    tree may show what is being taken back. Who gives a file its name or removes one in a thread looks at the count
    while holding `lock`, and the replacing itself holds it too; so either the name is there when the replacing begins,
    which then judges it, or it never comes to be.
    """

    __slots__ = ("count", "lock", "pending")

    def __init__(self) -> None:
        self.count: int = 0
        self.pending: int = 0
        self.lock: threading.Lock = threading.Lock()
