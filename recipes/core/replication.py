"""The seam between a server and whatever replicates its txns.

A Member hands each txn it prepared to a Replica and applies what comes back as committed. What the Replica needs
from outside comes in as method calls (a txn to propose, "this is on disk", a tick); what it decides piles up in one
Ready per turn, for the Member, and in one Outbox per turn, for the network. A Replica never sees the tree: a payload is
bytes. The turn that drives both is in turn.py.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

from recipes.core.jute.records import Ids
from recipes.core.jute.txns import Txn
from recipes.core.jute.votes import Notification

HISTORY_ENTRIES: Final = 500  # how many of the last entries a server can send to one that lacks them: commitLogCount


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


class SessionsTouched(NamedTuple):
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


class SnapshotRequested(NamedTuple):
    """A learner needs the whole tree: call `dumped` with it."""

    link: int


class Synced(NamedTuple):
    """Everything committed before this `sync` was asked for has been handed over. token: as it was given."""

    token: Any


class RoleChanged(NamedTuple):
    """`role` and `serving` are not what they were."""

    serving: bool


Event = Forwarded | SessionsTouched | Revalidate | Revalidated | SnapshotRequested | RoleChanged


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


class PeerLink(Protocol):
    """One connection to another server: bytes in, bytes out.

    out: what to send, in order. An iterator in it is a dump of the tree: its slices go out one after the other, and
        everything behind it waits.
    wants_close: the shell is to close the socket, without sending what is left. touched: it is in an Outbox already.
    """

    key: int
    out: list[bytes | Iterator[bytes]]
    wants_close: bool
    touched: bool

    def receive(self, data: bytes) -> None:
        """Take in what came, cut anywhere. Never raises for what is in it."""

    def lost(self) -> None:
        """The socket is closed."""


class Outbox:
    """What a turn has for the network.

    All of it may leave before the turn's writes are durable, and does: the other servers then write while this one
    does. So a Replica puts nothing in here that promises what its disk does not hold yet. A vote, an acknowledgement or
    a commit that counts this server is made by `flushed` and `written`, never in advance.

    votes: (server, notification) for the election ports. dial: the server whose quorum port to connect to; the shell
    answers with `dialled` or `dial_failed`. touched: links with something to send, or to be closed. notes: what an
    operator would want to read in the log.
    """

    __slots__ = ("dial", "notes", "touched", "votes")

    def __init__(self) -> None:
        self.votes: list[tuple[int, Notification]] = []
        self.dial: int | None = None
        self.touched: list[PeerLink] = []
        self.notes: list[str] = []


class Replica(Protocol):
    """Orders entries and says when they are committed.

    role: standalone, leader, follower, observer or looking, as `srvr` prints it. serving: clients are served.
    epoch: the upper half of the zxids it orders. why_looking: why it last began to look for a leader.
    """

    role: str
    serving: bool
    epoch: int
    why_looking: str

    # What the shell calls.

    def begin_turn(self, now_ms: int) -> None:
        """The time, once per turn, by a clock that never goes back."""

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` is wanted next, whatever else happens; None: only when something happens."""

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
        """The connection asked for cannot be had."""

    def notified(self, sid: int, note: Notification) -> None:
        """A notification has come over the election port."""

    def unreachable(self, sid: int, is_unreachable: bool) -> None:
        """Whether the election port of another server cannot be reached at all."""

    def take_outbox(self) -> Outbox | None:
        """What is for the network since the last call; None from a Replica that is alone."""

    # What the Member calls.

    @property
    def leader(self) -> "Leadership | None":
        """What this server does as the one that prepares the txns; None where it is another's."""

    @property
    def learner(self) -> "LeaderProxy | None":
        """What it does where another leads; None while nobody is known to."""

    def sync(self, token: object, session_id: int, cxid: int, body: bytes, ids: Ids) -> None:
        """Hand `token` back in a Synced once everything that was committed anywhere by now is in `commits`."""

    def in_touch(self, timeout_ms: int) -> bool:
        """Whether a session of this timeout that this server hears from cannot have ended elsewhere."""
        ...

    def no_space(self, full: bool) -> None:
        """This server's disk has no room for more, or has it again."""

    def flushed(self, zxid: int) -> None:
        """Every entry up to `zxid` is on this server's disk."""

    def written(self, operation: Operation, last_zxid: int) -> None:
        """The operation is on disk. last_zxid: where the log then ends; -1 where it could not be truncated."""

    def take_ready(self) -> Ready:
        """What has been decided since the last call."""
        ...


class Leadership(Protocol):
    """Where txns are made."""

    def propose(self, entry: Entry) -> None:
        """Take a new entry, the successor of the last one."""

    def answer_revalidate(self, link: int, session_id: int, valid: bool) -> None:
        """Answer a Revalidate."""

    def dumped(self, link: int, zxid: int, chunks: Iterator[bytes]) -> None:
        """Answer a SnapshotRequested: the tree as it was at `zxid`, some changes behind it perhaps included."""

    def sync_learner(self, link: int) -> None:
        """A learner asks for a `sync`, behind what it has forwarded before."""


class LeaderProxy(Protocol):
    """Where txns come from a leader.

    leader_is_ours: it is a server of this project, not Apache's.
    """

    leader_is_ours: bool

    def forward(self, session_id: int, cxid: int, kind: int, body: bytes, ids: Ids) -> int:
        """Send a client's write to the leader. It comes back as a commit behind the zxid returned."""
        ...

    def touch(self, session_id: int, timeout_ms: int) -> None:
        """A session's client has been heard from here; for the leader to know."""

    def revalidate(self, session_id: int, timeout_ms: int) -> None:
        """Ask the leader whether a session lives."""
