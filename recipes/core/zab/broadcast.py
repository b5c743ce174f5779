"""Phase 3 at the leader: what it has proposed and a quorum does not yet hold."""

from collections import deque

from recipes.core.errors import invariant
from recipes.core.replication import Entry
from recipes.core.zab.membership import Membership


class Broadcast:
    """Counts who has which entry on disk.

    An entry of this epoch is committed once a quorum has it, and with it everything before: links are first in,
    first out and logs have no holes, so that holding a zxid means holding all before it.
    """

    __slots__ = ("_held", "_membership", "_outstanding", "committed_zxid", "last_zxid")

    def __init__(self, membership: Membership, epoch: int) -> None:
        self._membership = membership
        self._held: dict[int, int] = {}  # server id -> last zxid on its disk, of synced voters only
        self._outstanding: deque[Entry] = deque()
        self.last_zxid: int = epoch << 32
        self.committed_zxid: int = self.last_zxid

    @property
    def outstanding(self) -> deque[Entry]:
        """Proposed and not committed, in order."""
        return self._outstanding

    def propose(self, entry: Entry) -> None:
        """Take the next entry."""
        invariant(entry.zxid == self.last_zxid + 1, f"{entry} does not follow 0x{self.last_zxid:x}")
        self.last_zxid = entry.zxid
        self._outstanding.append(entry)

    def hold(self, sid: int, zxid: int) -> list[Entry]:
        """A voter has everything up to `zxid` on its disk; the entries that this commits, in order."""
        held = self._held
        if zxid <= held.get(sid, -1):
            return []
        held[sid] = zxid
        outstanding = self._outstanding
        if not outstanding:
            return []
        committed = self._membership.committed(held)
        done: list[Entry] = []
        while outstanding and outstanding[0].zxid <= committed:
            done.append(outstanding.popleft())
        if done:
            self.committed_zxid = done[-1].zxid
        return done

    def forget(self, sid: int) -> None:
        """The voter's link is gone: what it holds counts again once it has been synced anew."""
        self._held.pop(sid, None)
