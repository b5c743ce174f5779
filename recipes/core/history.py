"""The end of the log, kept in memory: what a learner may lack, and what is not applied yet."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import attrgetter

from recipes.core.errors import InvariantBroken
from recipes.core.replication import HISTORY_ENTRIES, Entry
from recipes.core.zxid import COUNTER_MASK, follows

_zxid = attrgetter("zxid")


class History:
    """Entries as they stand in the log, without a gap.

    base_zxid: the zxid of the entry before the first one here; -1: the log cannot be relied on, nothing is known.
    """

    __slots__ = ("_entries", "base_zxid", "last_zxid")

    def __init__(self, base_zxid: int, entries: Iterable[Entry] = ()) -> None:
        self.base_zxid: int = base_zxid
        self.last_zxid: int = base_zxid
        self._entries: list[Entry] = []
        for entry in entries:
            self.append(entry)

    def append(self, entry: Entry) -> None:
        """Take the next entry."""
        zxid = entry.zxid
        if (zxid != self.last_zxid + 1 or not zxid & COUNTER_MASK) and not follows(self.last_zxid, zxid):
            raise InvariantBroken(f"{entry} does not follow 0x{self.last_zxid:x}")
        self._entries.append(entry)
        self.last_zxid = zxid

    def truncate(self, zxid: int) -> None:
        """Forget everything behind `zxid`."""
        del self._entries[bisect_right(self._entries, zxid, key=_zxid) :]
        self.last_zxid = zxid
        if not self._entries:
            self.base_zxid = zxid

    def reset(self, zxid: int) -> None:
        """Start anew behind a snapshot; -1: nothing is known."""
        self._entries = []
        self.base_zxid = self.last_zxid = zxid

    def forget(self, applied_zxid: int) -> None:
        """Drop the oldest entries, none beyond `applied_zxid`, once twice as many are kept as needed."""
        entries = self._entries
        if len(entries) >= 2 * HISTORY_ENTRIES:
            gone = min(len(entries) - HISTORY_ENTRIES, bisect_right(entries, applied_zxid, key=_zxid))
            if gone:
                self.base_zxid = entries[gone - 1].zxid
                del entries[:gone]

    def keep_bytes(self, most: int, applied_zxid: int) -> int:
        """Drop the oldest entries, none beyond `applied_zxid`, until no more than `most` bytes are kept; how many are.

        Entries are few, and may be large.
        """
        entries = self._entries
        kept, at = 0, len(entries)
        while at and (kept + len(entries[at - 1].payload) <= most or entries[at - 1].zxid > applied_zxid):
            at -= 1
            kept += len(entries[at].payload)
        if at:
            self.base_zxid = entries[at - 1].zxid
            del entries[:at]
        return kept

    def behind(self, zxid: int) -> list[Entry]:
        """The entries behind `zxid`, as far as they are kept."""
        return self._entries[bisect_right(self._entries, zxid, key=_zxid) :]

    def holds(self, zxid: int) -> bool:
        """Whether the log is known to have `zxid`, and every entry behind it is kept here."""
        at = bisect_left(self._entries, zxid, key=_zxid)
        return zxid == self.base_zxid or (at < len(self._entries) and self._entries[at].zxid == zxid)

    def floor(self, zxid: int) -> int | None:
        """The last zxid of the log that is not above `zxid`; None when that entry is not kept here."""
        at = bisect_right(self._entries, zxid, key=_zxid)
        if at:
            return self._entries[at - 1].zxid
        return self.base_zxid if zxid >= self.base_zxid else None

    def before(self, zxid: int) -> int | None:
        """The zxid of the last entry below `zxid`; None when that entry is not kept here."""
        at = bisect_left(self._entries, zxid, key=_zxid)
        return self._entries[at - 1].zxid if at else None
