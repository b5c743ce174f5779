"""How much memory the store takes, and whether that is too much: then the leader refuses what would add to it.

A server whose memory ends is gone, and so may be the next leader soon after: all members have the same tree. So writes
that add something are refused before, with QUOTAEXCEEDED; deletes, reads and sessions go on.
"""

from typing import Final

_CLEAR: Final = 0.95  # of the limit: below it everything is taken again, so that one delete does not end and begin it
_STEPS: Final = 1024  # the store is measured again after a write of 1/1024 of the limit


class StoreMemory:
    """The memory of the store as it was last measured.

    limit_bytes: 0: no limit. used_bytes: an estimate, which counts the tree, what is on its way into it, and the end of
    the log in memory. full: the limit is reached. step_bytes: how much may be written until the next measurement.
    """

    __slots__ = ("full", "limit_bytes", "refusing", "step_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes: int = limit_bytes
        self.used_bytes: int = 0
        self.full: bool = False
        self.refusing: bool = False  # full, and this server leads; as it was said last
        self.step_bytes: int = limit_bytes // _STEPS

    @property
    def most_remembered_bytes(self) -> int:
        """How much of the log's end may be kept for learners that lack it."""
        return self.limit_bytes // 8 or 1 << 62

    def measured(self, used_bytes: int) -> None:
        """The store takes so much now."""
        self.used_bytes = used_bytes
        if self.limit_bytes:
            self.full = self.used_bytes >= (_CLEAR if self.full else 1) * self.limit_bytes
        self.step_bytes = 0 if self.full else self.limit_bytes // _STEPS or 1 << 62

    def say(self, leads: bool) -> str | None:
        """What an operator must know now, if anything has changed."""
        before, self.refusing = self.refusing, self.full and leads
        used, limit = (f"{size >> 20} MB" for size in (self.used_bytes, self.limit_bytes))
        if self.refusing and not before:
            return (
                f"the store takes {used} of memory, and storeMemoryLimitInMb is {limit}: writes that add to it are "
                "refused with QUOTAEXCEEDED, deletes and reads go on; delete znodes, or set a higher limit on all "
                "servers if they have the memory"
            )
        if before and not self.full:
            return f"the store takes {used} of memory, below the limit of {limit}: all writes are taken again"
        return None
