"""The seam between a server and the protocol that replicates its txns.

A Member hands each txn that it has prepared to a Replica, and applies the entries that the Replica commits. The inputs
of a Replica are method calls (a txn to propose, "this is on disk", a tick). Its decisions collect in one Ready per
turn, for the Member, and in one Outbox per turn, for the network. A Replica never sees the tree, and decodes a payload
only to check it. The turn that drives both is in turn.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from recipes.core.forwarding import Forwarded, LeaderProxy, LearnerProxy, Revalidate, Revalidated, SessionsTouched
from recipes.core.jute.records import Ids
from recipes.core.jute.txns import Txn
from recipes.core.jute.votes import Notification
from recipes.core.outbox import Outbox, PeerLink
from recipes.core.quorum import Membership

SECRET_CELL: Final = "sessionSecret"  # the cell of the secret that members share, which no protocol reads itself
HISTORY_ENTRIES: Final = 500  # of the log's end, kept in memory for learners that lack them: commitLogCount


class Entry:
    """One txn in the replicated order.

    payload: the serialised txn with its digest; the same bytes go to every log and every peer.
    txn: its decoded form, None where it was not decoded yet.
    digest: of the tree after the txn, where this server prepared the txn; else None.
    claimed: that digest as the leader states it, for comparison; None where it states none.
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


# Other durable writes, in one order with the entries. NamedTuples are fast enough: each happens once in an epoch.


class Cell(NamedTuple):
    """Store a small value under a name, in place of the one before. Its meaning is the protocol's affair."""

    name: str
    value: bytes


class Truncate(NamedTuple):
    """Take back every entry behind `zxid`; the tree becomes what it was at `zxid`."""

    zxid: int


class InstallSnapshot(NamedTuple):
    """Replace log and tree by a leader's snapshot. body: its serialised tree, as it comes over a SNAP."""

    zxid: int
    body: bytes


Operation = Cell | Truncate | InstallSnapshot
Write = Entry | Operation


# Events for the Member, besides commits.


class SnapshotRequested(NamedTuple):
    """A learner needs the whole tree: call `dumped` with it."""

    link: int


class Synced(NamedTuple):
    """Everything committed before this `sync` was asked for has been handed over. token: the one given to `sync`."""

    token: Any


class SecretShared(NamedTuple):
    """The members share this secret, from which the passwords of sessions follow. It is on disk before it is used."""

    secret: bytes


class RoleChanged(NamedTuple):
    """`role` and `serving` have changed."""

    serving: bool


Event = Forwarded | SessionsTouched | Revalidate | Revalidated | SnapshotRequested | SecretShared | RoleChanged


class Ready:
    """What a Replica has decided in one turn, for its Member.

    writes: to put on disk, in this order; then call `flushed` with the zxid of the last entry that is on disk, and
        `written` with each operation that is.
    commits: entries a quorum and this server have on disk, to be applied in this order; a Synced stands behind
        everything that must be applied before it is answered.
    events: to be handled after the commits.
    """

    __slots__ = ("commits", "events", "writes")

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.commits: list[Entry | Synced] = []
        self.events: list[Event] = []


class LearnerStatus(NamedTuple):
    """A server that follows this one. voter: it counts in quorums. observer: it says that it has no vote."""

    sid: int
    voter: bool
    observer: bool


class ReplicaStatus(NamedTuple):
    """What operators see of a Replica.

    stage: election, synchronization or broadcast, as `zabstate` prints it.
    last_zxid: of the log; -1 if it is not known.
    leader: the sid of the server that leads, or is to lead; None while nobody does.
    learners: the servers in sync with this one, if it leads. pending_syncs: `sync` requests that wait for its quorum.
    diffs_sent: how many learners were sent only what they lacked, since the start.
    """

    stage: str
    last_zxid: int
    leader: int | None = None
    learners: Sequence[LearnerStatus] = ()
    pending_syncs: int = 0
    diffs_sent: int = 0


class Replica(Protocol):
    """Orders entries and says when they are committed.

    role: standalone, leader, follower, observer or looking, as `srvr` prints it.
    serving: clients are served. Everything that this server has ever shown to a client must be known to be committed by
        then, and handed over.
    epoch: the upper half of the zxids it orders. why_looking: why it last began to look for a leader.
    """

    role: str
    serving: bool
    epoch: int
    why_looking: str

    # What the shell calls.

    def begin_turn(self, now_ms: int) -> None:
        """Set the time, once per turn, by a clock that never goes back."""

    @property
    def deadline_ms(self) -> int | None:
        """When to call `tick` next, if no other input comes before; None: not before another input."""

    def tick(self) -> None:
        """Do what is due."""

    @property
    def listening(self) -> bool:
        """Whether other servers may connect to the quorum port."""
        ...

    def accept(self) -> PeerLink | None:
        """A server has connected to the quorum port; None: hang up."""

    def dialled(self, sid: int) -> PeerLink | None:
        """The connection asked for is up; None: it is not wanted any more, hang up."""

    def dial_failed(self, sid: int) -> None:
        """The connection asked for cannot be made."""

    def notified(self, sid: int, note: Notification) -> None:
        """A notification has come over the election port."""

    def unreachable(self, sid: int, is_unreachable: bool) -> None:
        """Whether the election port of another server cannot be reached at all."""

    def take_outbox(self) -> Outbox | None:
        """What has been decided for the network since the last call; None from a standalone Replica."""

    def status(self) -> ReplicaStatus:
        """Figures for operators."""
        ...

    # What the Member calls.

    @property
    def leader(self) -> "Leadership | None":
        """What the Member calls on the server that prepares the txns; None on all other servers."""

    @property
    def learner(self) -> "LeaderProxy | None":
        """What the Member calls on a server that another one leads; None while it has no leader."""

    def sync(self, token: object, session_id: int, cxid: int, body: bytes, ids: Ids) -> None:
        """Hand `token` back in a Synced once everything that was committed anywhere by now is in `commits`.

        It stands there behind every entry that this server has proposed or forwarded before, and before all later ones:
        replies leave in the order of the requests.
        """

    def in_touch(self, timeout_ms: int) -> bool:
        """Whether a session of this timeout whose client this server hears from cannot have ended elsewhere."""
        ...

    def remember(self, most_bytes: int) -> int:
        """Keep no more than this of the log's end in memory, beside what is not applied yet; how much is kept."""
        ...

    def no_space(self, full: bool) -> None:
        """This server's disk has no room for more entries, or has room again."""

    def flushed(self, zxid: int) -> None:
        """Every entry up to `zxid` is on this server's disk."""

    def written(self, operation: Operation, last_zxid: int) -> None:
        """The operation is on disk. last_zxid: where the log then ends; -1 where it could not be truncated."""

    def take_ready(self) -> Ready:
        """What has been decided since the last call."""
        ...


class Leadership(LearnerProxy, Protocol):
    """The Replica of the server that makes the txns."""

    def propose(self, entry: Entry) -> None:
        """Take a new entry, the successor of the last one."""

    def dumped(self, link: int, zxid: int, chunks: Iterator[bytes]) -> None:
        """Answer a SnapshotRequested: the tree as it was at `zxid`, perhaps with some later changes."""


# What a server's shell needs to run one protocol or another.


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """A server's settings, as far as its Replica needs them.

    init_limit: how long joining a leader may take, in ticks.
    sync_limit: how long the other end of a link may be silent, in ticks.
    most_snaps, most_diffs: how many learners a leader may bring to its history at once, by its whole tree and by what
        they lack. Only observers are refused: voters count, too, and are never kept waiting.
    max_packet_bytes: the longest packet that another server may send.
    secret: that the members share, as stored; empty if this server has none yet. new_secret: a random one, for the
        first leader; empty if the members share none. Links between servers must then be encrypted.
    """

    sid: int
    membership: Membership
    tick_ms: int = 2000
    init_limit: int = 10
    sync_limit: int = 5
    most_snaps: int = 10
    most_diffs: int = 100
    max_packet_bytes: int = 2 * 0xFFFFF
    secret: bytes = field(default=b"", repr=False)
    new_secret: bytes = field(default=b"", repr=False)

    @property
    def observer(self) -> bool:
        """Whether this server has no vote."""
        return self.sid not in self.membership.voters


@dataclass(frozen=True, slots=True)
class Recovered:
    """The result of recovery.

    snapshot_zxid: of the snapshot that was read. last_zxid: of the log. txns: how many of its txns the tree has.
    mismatches: zxids at which the tree's digest was not the one in the log.
    history, base_zxid: the last entries logged, oldest first and without a hole, and the zxid before the first entry.
        On a standalone server, and without such entries, history is empty and base_zxid is the last zxid.
    cells: of a member, as stored, and settled by its protocol.
    unsure: why a member's history may lack entries that it once acknowledged; empty if the history is sound. Until a
        leader's snapshot has replaced its data, an unsure member must neither vote nor lead, and last_zxid means
        nothing, unless may_cut.
    applied_zxid: of the tree. It is less than last_zxid where entries that are logged may still be taken back; all of
        these are in history.
    may_cut: only what stands behind history makes an unsure member unsure, and a power cut may have left it. Where the
        other members make no quorum, a Truncate to last_zxid removes it, and the member is sound.
    rotten_end: file, offset and zxid of a last record that was written to its end and has changed since; else empty.
    replayed_bytes: of the txns in the log behind the snapshot.
    """

    snapshot_zxid: int
    last_zxid: int
    txns: int
    mismatches: tuple[int, ...]
    history: list[Entry] = field(default_factory=list)
    base_zxid: int = 0
    cells: Mapping[str, bytes] = field(default_factory=dict)
    unsure: str = ""
    applied_zxid: int = -1
    may_cut: bool = False
    rotten_end: str = ""
    replayed_bytes: int = 0


class ReplicationProtocol(NamedTuple):
    """A protocol that a server can run.

    cells: the names of its cells, with the values that each can have at a server that has taken no part yet.
    settle(cells, unfinished, last_zxid): called by recovery. It reconciles the stored cells with the log, and returns
        them as they must be. unfinished: values whose storing a crash interrupted. Raises DiskError if they cannot be
        right.
    logged_counts: what is in a member's log counts as committed when it starts, as in ZooKeeper. If not, recovery
        applies the snapshot alone to the tree.
    start(settings, found, now_ms): makes the Replica of a server that has recovered its disk.
    """

    name: str
    cells: Mapping[str, Sequence[bytes]]
    settle: Callable[[Mapping[str, bytes], Mapping[str, bytes], int], Mapping[str, bytes]]
    logged_counts: bool
    start: Callable[[ReplicaSettings, Recovered, int], Replica]
