"""What a leader knows of one learner. Source: LearnerHandler.java."""

from collections.abc import Mapping
from typing import Any, Final

from recipes.core.errors import WireError
from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.link import Link
from recipes.core.quorum import Membership
from recipes.core.zab.broadcast import CommitPackets
from recipes.core.zab.stages import ProgressStage
from recipes.core.zxid import epoch_of, start_of

# The largest promise of a learner that a leader takes for true, and the largest epoch that a learner takes from its
# leader; both also take one more than their own epoch. Without limits one faulty server could use up all epochs that
# fit into a zxid. The limits are the same on all servers, and 500 million elections lie between the two: so a leader
# can always offer an epoch that the others can promise.
MOST_PROMISED: Final = 1 << 30
MOST_OFFERED: Final = MOST_PROMISED + (1 << 29)

_UP_TO_DATE: Final = ProgressStage.UP_TO_DATE
_FOLLOWING: Final = (ProgressStage.UP_TO_DATE, ProgressStage.JOINED, ProgressStage.SYNCING)  # sent all that is new
_PROVEN: Final = (*_FOLLOWING, ProgressStage.READY)
_COUNTED: Final = (ProgressStage.UP_TO_DATE, ProgressStage.JOINED)


class LearnerProgress:
    """One learner, for the life of its connection. Stages only rise, in order; a learner that reconnects is a new one.

    stage: says which packets the learner is sent and which it may send. steps: by type of packet, what the leader does
    with it in this stage. link: its connection. Each other field is valid from a stage on:

    From INTRODUCED on, fixed, from the learner's first packet:
    sid: of its server; -1 before.
    observer: it gets one INFORM per committed entry, and no proposals; it acknowledges NEWLEADER only.
    voter: its acknowledgements count towards a quorum. Never True along with `observer`.
    ours: it is a server of this project: a COMMIT or an ACK covers every entry up to its zxid.
    accepted_epoch: the epoch it had promised when it connected, as it says: not proven before READY.

    From OFFERED on, fixed:
    offered_epoch: the one it was sent in LEADERINFO.

    From READY on, fixed:
    current_epoch: of its log; -1 if it had already promised the leader's epoch, so it is not counted again.
    last_zxid: where its log ended; -1 where the log cannot be relied on.

    sync: how it is brought to the leader's history, SNAP or DIFF; a TRUNC counts as a DIFF. 0 before that is decided.

    From SYNCING on, fixed:
    synced_zxid: the last zxid that it had, or was sent as committed before NEWLEADER; everything up to here is on its
        disk when it acknowledges NEWLEADER.

    From JOINED on:
    acked_zxid: it has everything up to here on disk. Never falls; synced_zxid <= acked_zxid <= the last zxid proposed.

    From UP_TO_DATE on (a ping sent earlier is not answered):
    pings_sent, pings_answered: counts. Answers come in order, so that equal counts mean that no ping is unanswered.
    """

    __slots__ = (
        "_early_zxid", "_held", "_rows", "accepted_epoch", "acked_zxid", "current_epoch", "last_zxid", "link",
        "observer", "offered_epoch", "ours", "pings_answered", "pings_sent", "stage", "steps", "sync",
        "synced_zxid", "voter",
    )  # fmt: skip

    def __init__(self, link: Link[Packet], rows: Mapping[ProgressStage, Mapping[int, Any]]) -> None:
        self._rows = rows
        self.link: Link[Packet] = link
        self.voter: bool = False
        self.observer: bool = False
        self.ours: bool = False
        self.accepted_epoch: int = -1
        self.offered_epoch: int = -1
        self.current_epoch: int = -1
        self.last_zxid: int = -1
        self.sync: int = 0
        self.synced_zxid: int = 0
        self.acked_zxid: int = -1
        self.pings_sent: int = 0
        self.pings_answered: int = 0
        self._early_zxid = 0  # in SYNCING: of an ACK that came before the ACK of NEWLEADER
        self._held: list[bytes] = []  # in SYNCING and JOINED: packets to send right behind UPTODATE
        self.enter(ProgressStage.CONNECTED)

    def enter(self, stage: ProgressStage) -> None:
        """Move to a stage."""
        self.stage: ProgressStage = stage
        self.steps: Mapping[int, Any] = self._rows[stage]

    @property
    def sid(self) -> int:
        """Of the learner's server; -1 until it has introduced itself."""
        return self.link.sid

    @property
    def counted(self) -> bool:
        """Whether it has taken over the history, so that `acked_zxid` is valid."""
        return self.stage in _COUNTED

    def introduce(self, packet: Packet, membership: Membership, own_sid: int, own_epoch: int) -> None:
        """Take its first packet: its sid and the epoch it has promised. Raises WireError if it cannot be a learner."""
        info, epoch = q.decode_learner_info(packet.data), epoch_of(packet.zxid)
        if info.sid not in membership.servers or info.sid == own_sid:
            raise WireError(f"server {info.sid} is not one of the others in this ensemble")
        if info.ours:
            self.link.understands(q.encode_farewell)
        if why := self.link.why_not(info.sid):
            raise WireError(why)
        most = max(MOST_PROMISED, own_epoch + 1)
        if not 0 <= epoch <= most:
            raise WireError(f"server {info.sid} says it has promised epoch {epoch}: expected 0 to {most}")
        self.link.sid = info.sid
        self.ours = info.ours
        self.observer = packet.type == q.OBSERVERINFO
        self.voter = not self.observer and info.sid in membership.voters
        self.accepted_epoch = epoch
        self.enter(ProgressStage.INTRODUCED)

    def offer(self, epoch: int, secret: bytes) -> None:
        """From INTRODUCED: offer it an epoch to promise. secret: that the members share; empty if they share none."""
        self.offered_epoch = epoch
        self.enter(ProgressStage.OFFERED)
        self.send(q.LEADERINFO, start_of(epoch), q.encode_leader_info(secret=secret))

    def promise(self, packet: Packet) -> None:
        """From OFFERED: it has promised the epoch. Raises WireError if it cannot have done so."""
        if self.offered_epoch < self.accepted_epoch:
            raise WireError(f"it acknowledges epoch {self.offered_epoch} after it has promised {self.accepted_epoch}")
        self.current_epoch = q.decode_epoch(packet.data)
        self.last_zxid = packet.zxid
        self.enter(ProgressStage.READY)

    @property
    def proven(self) -> bool:
        """Whether it has acted as a member: it has acknowledged the epoch that it was offered."""
        return self.stage in _PROVEN

    def send(self, packet_type: int, zxid: int, data: bytes | None = None) -> None:
        """Send a packet."""
        self.link.send(q.encode_packet(packet_type, zxid, data))

    def ack_early(self, zxid: int) -> None:
        """In SYNCING: an ACK of an entry. 3.8.0 may send it before the ACK of NEWLEADER (ZOOKEEPER-4685)."""
        self._early_zxid = max(self._early_zxid, zxid)

    def join(self) -> None:
        """From SYNCING: it has taken over the history."""
        self.acked_zxid = max(self.synced_zxid, self._early_zxid)
        self.enter(ProgressStage.JOINED)

    def ack(self, zxid: int) -> None:
        """From JOINED on: an ACK of an entry."""
        if zxid > self.acked_zxid:
            self.acked_zxid = zxid

    def propose(self, packets: bytes) -> None:
        """Send it proposals, unless it is an observer or has not reached SYNCING."""
        if self.stage in _FOLLOWING and not self.observer:
            self.link.send(packets)

    def commit(self, packets: CommitPackets) -> None:
        """Announce commits. Apache's servers get them behind UPTODATE: 3.8.0 fails before it (ZOOKEEPER-4394)."""
        if self.stage not in _FOLLOWING:
            return
        for packet in packets.informs if self.observer else packets.last if self.ours else packets.each:
            if self.stage is _UP_TO_DATE or self.ours:
                self.link.send(packet)
            else:
                self._held.append(packet)

    def bring_up_to_date(self) -> None:
        """From JOINED: let it serve."""
        self.send(q.UPTODATE, -1)
        self.enter(ProgressStage.UP_TO_DATE)
        for packet in self._held:
            self.link.send(packet)
        self._held.clear()

    def ping(self, zxid: int) -> None:
        """Ask for a sign of life, if it has reached SYNCING."""
        if self.stage in _FOLLOWING:
            self.send(q.PING, zxid)
            self.pings_sent += self.stage is _UP_TO_DATE
