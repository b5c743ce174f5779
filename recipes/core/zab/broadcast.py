"""Phase 3 at the leader: what is proposed, and what of it is on the disks of a quorum."""

from recipes.core.build import mypyc_attr
from recipes.core.errors import invariant
from recipes.core.history import History
from recipes.core.jute import quorum as q
from recipes.core.quorum import Membership
from recipes.core.replication import Entry
from recipes.core.zxid import start_of


@mypyc_attr(allow_interpreted_subclasses=True)
class Broadcast:
    """Counts which voters have which entries on disk.

    An entry of this epoch is committed once a quorum has it, and so is every entry before it: links are first in,
    first out and logs have no gaps, so that a server with a zxid has all before it.
    """

    __slots__ = ("_held", "_membership", "committed_zxid", "last_zxid")

    def __init__(self, membership: Membership, epoch: int) -> None:
        self._membership = membership
        self._held: dict[int, int] = {}  # server id -> last zxid on its disk, of synced voters only
        self.last_zxid: int = start_of(epoch)
        self.committed_zxid: int = self.last_zxid

    def propose(self, zxid: int) -> None:
        """Take the next entry."""
        invariant(zxid == self.last_zxid + 1, "a proposal does not follow the one before")
        self.last_zxid = zxid

    def acknowledged(self, sid: int, zxid: int) -> bool:
        """A voter has everything up to `zxid` on its disk; return whether that commits anything."""
        held = self._held
        if zxid <= held.get(sid, -1):
            return False
        held[sid] = zxid
        if self.committed_zxid == self.last_zxid:
            return False
        committed = min(self._membership.committed(held), self.last_zxid)
        if committed <= self.committed_zxid:
            return False
        self.committed_zxid = committed
        return True

    def forget(self, sid: int) -> None:
        """The voter's link is gone: stop counting its disk until the voter has been synced again."""
        self._held.pop(sid, None)


class CommitPackets:
    """The packets that announce the commits behind `before_zxid` up to `zxid`, each kind made when first asked for."""

    __slots__ = ("_before_zxid", "_each", "_history", "_informs", "_zxid", "last")

    def __init__(self, history: History, before_zxid: int, zxid: int) -> None:
        self._history = history
        self._before_zxid = before_zxid
        self._zxid = zxid
        self._each: list[bytes] | None = None
        self._informs: list[bytes] | None = None
        self.last: list[bytes] = [q.encode_packet(q.COMMIT, zxid)]

    def _entries(self) -> list[Entry]:
        # None of them is applied yet, so all are kept.
        return [entry for entry in self._history.behind(self._before_zxid) if entry.zxid <= self._zxid]

    @property
    def each(self) -> list[bytes]:
        """A COMMIT per entry."""
        if self._each is None:
            self._each = [q.encode_packet(q.COMMIT, entry.zxid) for entry in self._entries()]
        return self._each

    @property
    def informs(self) -> list[bytes]:
        """An INFORM per entry, for observers."""
        if self._informs is None:
            self._informs = [q.encode_packet(q.INFORM, entry.zxid, entry.payload) for entry in self._entries()]
        return self._informs
