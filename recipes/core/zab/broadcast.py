"""Phase 3 at the leader: entries that are proposed, but not yet on the disks of a quorum."""

from collections import deque

from recipes.core.errors import invariant
from recipes.core.jute import quorum as q
from recipes.core.quorum import Membership
from recipes.core.replication import Entry
from recipes.core.zxid import start_of


class Broadcast:
    """Counts which voters have which entries on disk.

    An entry of this epoch is committed once a quorum has it, and so is every entry before it: links are first in,
    first out and logs have no gaps, so that a server with a zxid has all before it.
    """

    __slots__ = ("_held", "_membership", "_outstanding", "committed_zxid", "last_zxid")

    def __init__(self, membership: Membership, epoch: int) -> None:
        self._membership = membership
        self._held: dict[int, int] = {}  # server id -> last zxid on its disk, of synced voters only
        self._outstanding: deque[Entry] = deque()
        self.last_zxid: int = start_of(epoch)
        self.committed_zxid: int = self.last_zxid

    @property
    def outstanding(self) -> deque[Entry]:
        """Entries proposed and not committed, in order."""
        return self._outstanding

    def propose(self, entry: Entry) -> None:
        """Take the next entry."""
        invariant(entry.zxid == self.last_zxid + 1, f"{entry} does not follow 0x{self.last_zxid:x}")
        self.last_zxid = entry.zxid
        self._outstanding.append(entry)

    def acknowledged(self, sid: int, zxid: int) -> list[Entry]:
        """A voter has everything up to `zxid` on its disk; return the entries that this commits, in order."""
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
        """The voter's link is gone: stop counting its disk until the voter has been synced again."""
        self._held.pop(sid, None)


class CommitPackets:
    """The packets that announce a batch of commits, each kind made when first asked for."""

    __slots__ = ("_each", "_entries", "_informs", "last")

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self._each: list[bytes] | None = None
        self._informs: list[bytes] | None = None
        self.last: list[bytes] = [q.encode_packet(q.COMMIT, entries[-1].zxid)]

    @property
    def each(self) -> list[bytes]:
        """A COMMIT per entry."""
        if self._each is None:
            self._each = [q.encode_packet(q.COMMIT, entry.zxid) for entry in self._entries]
        return self._each

    @property
    def informs(self) -> list[bytes]:
        """An INFORM per entry, for observers."""
        if self._informs is None:
            self._informs = [q.encode_packet(q.INFORM, entry.zxid, entry.payload) for entry in self._entries]
        return self._informs
