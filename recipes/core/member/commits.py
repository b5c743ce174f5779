"""What is committed and not yet applied: as much of it goes into the tree in one turn as there is time for.

Nearly always that is all of it. But thousands of sessions may end together, and one may have many thousands of znodes:
what goes with it is looked for in slices, while the tree stays as it is, and then it goes at once.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import Txn, decode_txn
from recipes.core.member.costs import closing_units, ephemerals_of, multi_units
from recipes.core.replication import Entry, Synced
from recipes.core.tree.session_end import SessionEnd

if TYPE_CHECKING:
    from recipes.core.member.member import Member

_COSTLY: Final = frozenset((op.CLOSE_SESSION, op.MULTI))
_ZNODES_PER_UNIT: Final = 8  # that go once they are found
_MOST_FREED: Final = 5000  # znodes in one turn


class Commits:
    """A member's commits, in order.

    left: units that `add` and `go_on` may use in this turn.
    behind: what waits for its turn. gone: what was applied; to free the memory of many znodes takes time, too. While
        one of them is not empty, `go_on` has something to do.
    """

    __slots__ = ("_end", "_member", "_slices", "behind", "gone", "left")

    def __init__(self, member: "Member") -> None:
        self._member = member
        self.left: int = member.config.turn_units
        self.behind: deque[Entry | Synced] = deque()
        self.gone: deque[SessionEnd] = deque()
        self._end: SessionEnd | None = None  # of the session that the first one closes, while it is looked at
        self._slices: Iterator[int] | None = None

    def add(self, commits: list[Entry | Synced]) -> None:
        """Apply these behind all others, or as many of them as there is time for."""
        member, behind, last = self._member, self.behind, None
        for commit in commits:
            if behind:
                behind.append(commit)
            elif type(commit) is Entry:
                txn = commit.txn or _decoded(commit)
                if txn[4] in _COSTLY and not self._fits(txn):
                    behind.append(commit)
                else:
                    member.commit(commit, txn)
                    last = commit
            elif isinstance(commit, Synced):
                member.synced(commit)
        if last is not None:
            member.applied(last)

    def go_on(self) -> None:
        """Apply what waits, as much as there is time for."""
        member, behind, last = self._member, self.behind, None
        while behind and self.left > 0:
            commit = behind[0]
            if isinstance(commit, Entry):
                txn = commit.txn or _decoded(commit)
                if txn[4] in _COSTLY and not self._fits(txn) and not self._looked_at(txn):
                    break
                end, self._end, self._slices = self._end, None, None
                member.commit(commit, txn, end)
                last = commit
                if end is not None:
                    self.gone.append(end)
            else:
                member.synced(commit)
            behind.popleft()
        if last is not None:
            member.applied(last)
        if self.gone:
            self._free()

    def finish(self) -> None:
        """Apply all that waits: what follows needs the tree as it is committed."""
        if self.behind:
            self.left = 1 << 60
            self.go_on()

    def _fits(self, txn: Txn) -> bool:
        """Whether a txn of the costly kinds can be applied now, and at once; if so, its time is used."""
        if self.left <= 0:
            return False
        if txn[4] == op.MULTI:
            self.left -= multi_units(txn)
            return True
        count = ephemerals_of(self._member.tree, txn)
        if count > self._member.config.many_ephemerals:
            return False
        self.left -= closing_units(count)
        return True

    def _looked_at(self, closing: Txn) -> bool:
        """Look for what goes with a session with many znodes. Whether all of it is found."""
        if self._end is None or self._slices is None:
            self._end = SessionEnd(self._member.tree, closing[0], closing[5][0])
            self._slices = self._end.slices()
        for units in self._slices:
            self.left -= units
            if self.left <= 0:
                return False
        self.left -= len(self._end.gone) // _ZNODES_PER_UNIT
        return True

    def _free(self) -> None:
        gone = self.gone[0].gone
        for _ in range(min(len(gone), _MOST_FREED)):
            gone.popitem()
        if not gone:
            self.gone.popleft()


def _decoded(entry: Entry) -> Txn:
    entry.txn, entry.claimed = decode_txn(entry.payload)
    return entry.txn
