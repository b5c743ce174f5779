"""The seam between a server and whatever replicates its txns.

A Member hands each txn it prepared to a Replica and applies what comes back as committed. What the Replica needs
from outside comes in as method calls (a txn to propose, "this is on disk", a tick); what it decides piles up in one
Ready per turn. A Replica never sees the tree: a payload is bytes.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

from recipes.core.errors import invariant
from recipes.core.jute.records import Ids
from recipes.core.jute.txns import Txn

HISTORY_ENTRIES: Final = 500  # how many of the last entries a server can send to one that lacks them: commitLogCount
_COUNTER: Final = 0xFFFFFFFF  # the lower half of a zxid
_MOST_SKIPPED: Final = 16  # more are no failed requests: a leader's snapshot has what stood there


class Entry:
    """One txn in the replicated order.

    payload: the serialised txn with its digest; the same bytes go to every log and every peer.
    txn: its decoded form, None where it was not decoded yet.
    digest: of the tree after it, where it was made on this server and so is worked out already; else None.
    claimed: the same as the leader says, to be compared; None where it says nothing.
    """

    __slots__ = ("claimed", "digest", "payload", "txn", "zxid")

    def __init__(
        self,
        zxid: int,
        payload: bytes,
        txn: Txn | None = None,
        digest: int | None = None,
        claimed: int | None = None,
    ) -> None:
        self.zxid: int = zxid
        self.payload: bytes = payload
        self.txn: Txn | None = txn
        self.digest: int | None = digest
        self.claimed: int | None = claimed

    def __repr__(self) -> str:
        return f"Entry(0x{self.zxid:x}, {len(self.payload)} bytes)"


def next_zxid(zxid: int) -> int:
    """The zxid of the entry behind `zxid` in the log; where its epoch has no more, the first one of the next."""
    zxid += 1
    return zxid if zxid & _COUNTER else zxid + 1  # an epoch's zero is nobody's txn


def follows(before_zxid: int, zxid: int) -> bool:
    """Whether a log may have `zxid` right behind `before_zxid`: the next one, or the first of a later epoch."""
    return zxid == next_zxid(before_zxid) or (zxid & _COUNTER == 1 and zxid >> 32 > before_zxid >> 32)


def skipped(before_zxid: int, zxid: int) -> range:
    """The zxids that should stand between two entries of a ZooKeeper leader's, none where they are too many.

    It takes a zxid before it has understood a multi: one that makes it fail then uses it up, and no txn has it.
    """
    expected = next_zxid(before_zxid) if zxid >> 32 == before_zxid >> 32 else (zxid & ~_COUNTER) + 1
    return range(expected, zxid) if before_zxid < expected < zxid <= expected + _MOST_SKIPPED else range(0)


# What else is made durable, in one order with the entries. NamedTuples, since each happens once in an epoch.


ACCEPTED_EPOCH: Final = "acceptedEpoch"  # the last one promised to a leader
CURRENT_EPOCH: Final = "currentEpoch"  # the last one whose initial history this server has


class EpochWrite(NamedTuple):
    """Store an epoch. kind: one of the two above, the name of its file."""

    kind: str
    epoch: int


class Truncate(NamedTuple):
    """Take back every entry behind `zxid`; the tree becomes what it was then."""

    zxid: int


class InstallSnapshot(NamedTuple):
    """Replace log and tree by a leader's snapshot. body: its serialised tree, as it comes over a SNAP."""

    zxid: int
    body: bytes


Operation = EpochWrite | Truncate | InstallSnapshot
Write = Entry | Operation


# What a Member hears of beside commits.


class Forwarded(NamedTuple):
    """A learner sends on a client's request, for the leader to prepare. link: which learner."""

    link: int
    session_id: int
    cxid: int
    kind: int
    body: bytes
    ids: Ids


class Heard(NamedTuple):
    """Sessions a learner has heard from, with their timeouts in ms."""

    sessions: list[tuple[int, int]]


class Revalidate(NamedTuple):
    """A learner asks whether a session that has come to it still lives."""

    link: int
    session_id: int
    timeout_ms: int


class Revalidated(NamedTuple):
    """The leader's answer to that."""

    session_id: int
    valid: bool


class DumpWanted(NamedTuple):
    """A learner needs the whole tree: call `dumped` with it."""

    link: int


class Synced(NamedTuple):
    """Everything committed before this `sync` was asked for has been handed over. token: as it was given."""

    token: Any


class RoleChanged(NamedTuple):
    """`role` and `serving` are not what they were."""

    serving: bool


Event = Forwarded | Heard | Revalidate | Revalidated | DumpWanted | RoleChanged


class Ready:
    """What a turn has decided.

    writes: to put on disk, in this order; `flushed` is called with the zxid of the last entry that is there, `written`
        with every other operation that is.
    commits: entries a quorum and this server have on disk, to be applied in this order; a Synced stands behind
        everything that must be applied before it is answered.
    events: what else there is to do, behind the commits.
    """

    __slots__ = ("commits", "events", "writes")

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.commits: list[Entry | Synced] = []
        self.events: list[Event] = []


class Replica(Protocol):
    """Orders entries and says when they are committed.

    role: standalone, leader, follower, observer or looking, as `srvr` prints it. serving: clients are served.
    epoch: the upper half of the zxids it orders.
    """

    role: str
    serving: bool
    epoch: int

    @property
    def leader(self) -> "Leadership | None":
        """What this server does as the one that prepares the txns; None where it is another's."""

    @property
    def learner(self) -> "Learnership | None":
        """What it does where another leads; None while nobody is known to."""

    def sync(self, token: object, session_id: int, cxid: int, body: bytes, ids: Ids) -> None:
        """Hand `token` back in a Synced once everything that was committed anywhere by now is in `commits`."""

    def in_touch(self, timeout_ms: int) -> bool:
        """Whether a session of this timeout that this server hears from cannot have ended elsewhere."""

    def no_space(self, full: bool) -> None:
        """This server's disk has no room for more, or has it again."""

    def flushed(self, zxid: int) -> None:
        """Every entry up to `zxid` is on this server's disk."""

    def written(self, operation: Operation, last_zxid: int) -> None:
        """The operation is on disk. last_zxid: where the log then ends; -1 where it could not be truncated."""

    def take_ready(self) -> Ready:
        """What has been decided since the last call."""


class Leadership(Protocol):
    """Where txns are made."""

    def propose(self, entry: Entry) -> None:
        """Take a new entry, the successor of the last one."""

    def answer_revalidate(self, link: int, session_id: int, valid: bool) -> None:
        """Answer a Revalidate."""

    def dumped(self, link: int, zxid: int, chunks: Iterator[bytes]) -> None:
        """Answer a DumpWanted: the tree as it was at `zxid`, some changes behind it perhaps included."""

    def sync_learner(self, link: int) -> None:
        """A learner asks for a `sync`, behind what it has forwarded before."""


class Learnership(Protocol):
    """Where txns come from a leader.

    leader_is_ours: it is a server of this project, not Apache's.
    """

    leader_is_ours: bool

    def forward(self, session_id: int, cxid: int, kind: int, body: bytes, ids: Ids) -> int:
        """Send a client's write to the leader. It comes back as a commit behind the zxid returned."""

    def touch(self, session_id: int, timeout_ms: int) -> None:
        """A session's client has been heard from here; for the leader to know."""

    def revalidate(self, session_id: int, timeout_ms: int) -> None:
        """Ask the leader whether a session lives."""


class Standalone:
    """The Replica of a server alone: what its own disk holds is committed."""

    __slots__ = ("_last_zxid", "_outstanding", "_ready", "epoch", "role", "serving")

    def __init__(self, last_zxid: int) -> None:
        self.role: str = "standalone"
        self.serving: bool = True
        self.epoch: int = last_zxid >> 32
        self._last_zxid = last_zxid
        self._outstanding: deque[Entry | Synced] = deque()
        self._ready = Ready()

    @property
    def leader(self) -> Leadership:
        """It prepares its own txns."""
        return self

    @property
    def learner(self) -> None:
        """Nobody else leads."""
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
        """Answered in order: there is nobody else."""
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
        """Nobody asks."""

    def dumped(self, link: int, zxid: int, chunks: Iterator[bytes]) -> None:
        """Nobody wants it."""

    def sync_learner(self, link: int) -> None:
        """Nobody asks."""

    def in_touch(self, timeout_ms: int) -> bool:
        """There is nowhere else."""
        return True

    def no_space(self, full: bool) -> None:
        """Reads go on; the Member takes no writes meanwhile."""

    def written(self, operation: Operation, last_zxid: int) -> None:
        """A server alone has no such operations."""
        invariant(False, f"{operation} on a server alone")

    def take_ready(self) -> Ready:
        """What has been decided since the last call."""
        ready, self._ready = self._ready, Ready()
        return ready
