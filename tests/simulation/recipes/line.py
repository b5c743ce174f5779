"""Who stood first in a line, and when: read from the committed txns, and judged by rules of our own."""

import re
from bisect import bisect_right
from typing import NamedTuple

from recipes.core.jute.records import decode_stat


class First(NamedTuple):
    """A znode was first in line from `zxid` (at `at_us`) on, until the next First."""

    zxid: int
    at_us: int
    path: str
    fence: int
    session_id: int


class Line:
    """The line below `parent`, as the store had it at each zxid.

    marker: what stands before the number in the names of those in line.
    """

    def __init__(self, reference, parent, marker):
        self._reference = reference
        self.parent = parent
        self._marker = marker.encode()

    def names(self, children):
        """In order."""
        return sorted((name for name in children if self._marker in name), key=number_of)

    def now(self):
        """Paths of those who stand in it."""
        found = self._reference.changes(self.parent.encode(), 0, 1 << 62)[-1]
        return [self.path(name) for name in self.names(found.children)]

    def path(self, name):
        return f"{self.parent}/{name.decode()}"

    def firsts(self):
        """Each who was first, in order. The line may have been empty between two of them."""
        found = []
        last = None
        for state in self._reference.changes(self.parent.encode(), 0, 1 << 62):
            names = self.names(state.children)
            first = names[0] if names else None
            if first is not None and first != last:
                path = self.path(first)
                stat, _ = decode_stat(self._reference.at(path.encode(), state.zxid).stat, 0)
                found.append(First(state.zxid, self.at_us(state.zxid), path, stat.czxid, stat.ephemeral_owner))
            last = first
        return found

    def at_us(self, zxid):
        """When a txn was committed."""
        order = self._reference.order
        return order[bisect_right(order, zxid, key=lambda each: each.zxid) - 1].at_us


def number_of(name):
    """The sequence number that a name ends with."""
    return int(re.search(rb"[0-9]+\Z", name)[0])
