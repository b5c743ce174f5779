"""The Replica of a standalone server."""

from collections import deque
from collections.abc import Iterator

from recipes.core.errors import invariant
from recipes.core.jute.records import Ids
from recipes.core.jute.votes import Notification
from recipes.core.outbox import PeerLink
from recipes.core.replication import Entry, Leadership, Operation, Ready, ReplicaStatus, Synced
from recipes.core.zxid import epoch_of, next_zxid


class Standalone:
    """Commits an entry once it is on this server's disk."""

    __slots__ = ("_last_zxid", "_outstanding", "_ready", "epoch", "role", "serving", "why_looking")

    def __init__(self, last_zxid: int) -> None:
        self.role: str = "standalone"
        self.serving: bool = True
        self.epoch: int = epoch_of(last_zxid)
        self.why_looking: str = ""
        self._last_zxid = last_zxid
        self._outstanding: deque[Entry | Synced] = deque()
        self._ready = Ready()

    # There are no other servers: nothing comes from them, goes to them, or falls due.

    def begin_turn(self, now_ms: int) -> None:
        """It needs no clock."""

    @property
    def deadline_ms(self) -> int | None:
        """It never needs a tick."""
        return None

    def tick(self) -> None:
        """Nothing is due."""

    @property
    def listening(self) -> bool:
        """It has no quorum port."""
        return False

    def accept(self) -> PeerLink | None:
        """Nobody connects."""
        return None

    def dialled(self, sid: int) -> PeerLink | None:
        """It asks for no connection."""
        return None

    def dial_failed(self, sid: int) -> None:
        """It asks for no connection."""

    def notified(self, sid: int, note: Notification) -> None:
        """Nobody votes."""

    def unreachable(self, sid: int, is_unreachable: bool) -> None:
        """There is no other server."""

    def take_outbox(self) -> None:
        """Nothing is for the network."""
        return None

    def status(self) -> ReplicaStatus:
        """It leads itself."""
        return ReplicaStatus("broadcast", self._last_zxid)

    # What the Member calls.

    @property
    def leader(self) -> Leadership:
        """It prepares its own txns."""
        return self

    @property
    def learner(self) -> None:
        """No other server leads."""
        return None

    def propose(self, entry: Entry) -> None:
        """Take a new entry, the successor of the last one."""
        zxid = entry.zxid
        if zxid != self._last_zxid + 1:
            invariant(zxid == next_zxid(self._last_zxid), "entries must come in zxid order without a gap")
        self._last_zxid = zxid
        self._outstanding.append(entry)
        self._ready.writes.append(entry)

    def sync(self, token: object, session_id: int, cxid: int, body: bytes, ids: Ids) -> None:
        """Answer behind all earlier entries: there is no other server to ask."""
        (self._outstanding if self._outstanding else self._ready.commits).append(Synced(token))

    def flushed(self, zxid: int) -> None:
        """Commit everything up to `zxid`."""
        invariant(zxid <= self._last_zxid, "flushed what was never proposed")
        outstanding, commits = self._outstanding, self._ready.commits
        while outstanding:
            first = outstanding[0]
            if isinstance(first, Entry) and first.zxid > zxid:
                return
            commits.append(outstanding.popleft())

    def answer_revalidate(self, link: int, session_id: int, valid: bool) -> None:
        """There are no learners."""

    def dumped(self, link: int, zxid: int, chunks: Iterator[bytes]) -> None:
        """There are no learners."""

    def sync_learner(self, link: int) -> None:
        """There are no learners."""

    def in_touch(self, timeout_ms: int) -> bool:
        """Always: no other server could end a session."""
        return True

    def remember(self, most_bytes: int) -> int:
        """Nothing: there are no learners."""
        return 0

    def no_space(self, full: bool) -> None:
        """Reads go on; the Member takes no writes meanwhile."""

    def written(self, operation: Operation, last_zxid: int) -> None:
        """A standalone server has no such operations."""
        invariant(False, f"{operation} on a server alone")

    def take_ready(self) -> Ready:
        """What has been decided since the last call."""
        ready, self._ready = self._ready, Ready()
        return ready
