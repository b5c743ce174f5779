"""What a leader knows of one learner. Source: LearnerHandler.java."""

from recipes.core.errors import WireError
from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.replication import Entry
from recipes.core.zab.link import Link
from recipes.core.zab.membership import Membership

# What is further from its own than this no server believes: an epoch near the last a zxid has room for, promised on
# somebody's word, would leave the ensemble none.
EPOCHS_AHEAD = 1 << 24


class Handler:
    """One learner: how far its join has come, and what it has on disk.

    voter: its acknowledgements count. observer: it is sent what is committed and nothing else.
    ours: it understands a COMMIT or an ACK as meaning everything up to it.
    acked_zxid: it has everything up to here on disk; None before NEWLEADER is acknowledged.
    up_to_date: UPTODATE is on its way or was; COMMITs from before it wait behind it, since 3.8.0 cannot take them
        (ZOOKEEPER-4394).
    """

    __slots__ = (
        "_early_zxid", "_held", "accepted_epoch", "acked_zxid", "forwarding", "last_zxid", "link", "new_leader_sent",
        "observer", "ours", "pings_answered", "pings_sent", "ready", "synced_zxid", "up_to_date", "voter",
    )  # fmt: skip

    def __init__(self, link: Link) -> None:
        self.link: Link = link
        self.voter: bool = False
        self.observer: bool = False
        self.ours: bool = False
        self.accepted_epoch: int = -1
        self.last_zxid: int = -1  # of its log, as it said when it joined
        self.ready: bool = False  # it has said so, and waits to be synced
        self.synced_zxid: int = 0  # what was sent as committed before NEWLEADER
        self.forwarding: bool = False
        self.new_leader_sent: bool = False
        self.up_to_date: bool = False
        self.acked_zxid: int | None = None
        self.pings_sent: int = 0  # since UPTODATE: an earlier ping is not answered
        self.pings_answered: int = 0
        self._early_zxid = 0
        self._held: list[bytes] = []

    @property
    def sid(self) -> int:
        """Of the learner's server; -1 while it has not said."""
        return self.link.sid

    def introduce(self, packet: Packet, membership: Membership, own_sid: int, own_epoch: int) -> None:
        """Take its first packet: who it is, and what it has promised. Raises WireError for who cannot be a learner."""
        if packet.type not in (q.FOLLOWERINFO, q.OBSERVERINFO):
            raise WireError(f"packet of type {packet.type}: expected FOLLOWERINFO or OBSERVERINFO")
        info, epoch = q.decode_learner_info(packet.data), packet.zxid >> 32
        if info.sid not in membership.servers or info.sid == own_sid:
            raise WireError(f"server {info.sid} is not one of the others in this ensemble")
        if not 0 <= epoch <= own_epoch + EPOCHS_AHEAD:
            raise WireError(f"server {info.sid} says it has promised epoch {epoch}")
        self.link.sid = info.sid
        self.ours = info.ours
        self.observer = packet.type == q.OBSERVERINFO
        self.voter = not self.observer and info.sid in membership.voters
        self.accepted_epoch = epoch

    def send(self, packet_type: int, zxid: int, data: bytes | None = None) -> None:
        """Send a packet."""
        self.link.send(q.encode_packet(packet_type, zxid, data))

    def ack(self, zxid: int) -> None:
        """An ACK has come for an entry. 3.8.0 may send it before that of NEWLEADER (ZOOKEEPER-4685)."""
        if self.acked_zxid is None:
            self._early_zxid = max(self._early_zxid, zxid)
        else:
            self.acked_zxid = max(self.acked_zxid, zxid)

    def ack_new_leader(self) -> None:
        """It has taken over the history."""
        self.acked_zxid = max(self.synced_zxid, self._early_zxid)

    def propose(self, packet: bytes) -> None:
        """Pass a proposal on."""
        if self.forwarding and not self.observer:
            self.link.send(packet)

    def commit(self, packets: "CommitPackets") -> None:
        """Tell that these are committed."""
        if not self.forwarding:
            return
        for packet in packets.informs if self.observer else packets.last if self.ours else packets.each:
            if self.up_to_date or self.ours:
                self.link.send(packet)
            else:
                self._held.append(packet)

    def bring_up_to_date(self) -> None:
        """Let it serve."""
        self.send(q.UPTODATE, -1)
        self.up_to_date = True
        for packet in self._held:
            self.link.send(packet)
        self._held.clear()

    def ping(self, zxid: int) -> None:
        """Ask for a sign of life."""
        if self.new_leader_sent:
            self.send(q.PING, zxid)
            self.pings_sent += self.up_to_date


class CommitPackets:
    """The packets that tell of a batch of commits, each kind made when first asked for."""

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
