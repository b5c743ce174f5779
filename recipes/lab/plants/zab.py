"""Planted bugs of ZAB."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.jute.votes import LEADING
from recipes.core.quorum import Membership
from recipes.core.replication import Cell, Operation, ReplicaSettings
from recipes.core.zab.absentees import Absentees
from recipes.core.zab.broadcast import Broadcast
from recipes.core.zab.election import Election, Vote
from recipes.core.zab.epochs import ACCEPTED_EPOCH
from recipes.core.zab.leader import Leader
from recipes.core.zab.learner import Learner
from recipes.core.zab.peer import RecoveredState, ZabPeer
from recipes.core.zab.progress import LearnerProgress
from recipes.core.zab.stages import Event, LearnerStage
from recipes.lab.plants.plant import Plant


class _Peer(ZabPeer):
    """A peer whose parts may be replaced."""

    leader_class: type[Leader] = Leader
    learner_class: type[Learner] = Learner
    election_class: type[Election] = Election

    def __init__(self, settings: ReplicaSettings, recovered: RecoveredState, now_ms: int) -> None:
        super().__init__(settings, recovered, now_ms)
        self._election = self.election_class(settings.sid, settings.membership, settings.observer)
        self._look_when_drained()

    def _follow_election(self) -> None:
        election = self._election
        if self._phase is not None or election.vote is None:
            return
        if election.state == LEADING:
            settings = self.settings
            self._absentees = Absentees(
                settings.sid, settings.membership, election.vote.round, self.now_ms, settings.tick_ms
            )
            self.leader = self.leader_class(self)
            self.leader.begin()
        else:
            self.learner = self.learner_class(self, election.vote.leader)


class _HastyLearner(Learner):
    """Acknowledges a proposal when it comes."""

    def _propose(self, packet: Packet) -> None:
        super()._propose(packet)
        self._send(q.encode_packet(q.ACK, packet.zxid))

    def flushed(self, zxid: int) -> None:
        """It is acknowledged already."""


class _Hasty(_Peer):
    learner_class = _HastyLearner


class _OneIsEnough(Broadcast):
    """Commits what one server has."""

    def acknowledged(self, sid: int, zxid: int) -> bool:
        before_zxid = self.committed_zxid
        super().acknowledged(sid, zxid)
        self.committed_zxid = max(self.committed_zxid, min(zxid, self.last_zxid))
        return self.committed_zxid > before_zxid


class _LonelyLeader(Leader):
    def _try_establish(self) -> None:
        super()._try_establish()
        if self._peer.serving:
            held = self._broadcast
            self._broadcast = _OneIsEnough(self._membership, self.epoch)
            self._broadcast.committed_zxid = held.committed_zxid


class _Lonely(_Peer):
    leader_class = _LonelyLeader


class _KeepingLearner(Learner):
    """Keeps the end of its log where the leader wants it cut."""

    def _truncate(self, packet: Packet) -> None:
        self._last_zxid = self._peer.history.last_zxid
        self._enter(LearnerStage.COLLECTING)


class _Keeping(_Peer):
    learner_class = _KeepingLearner


class _HalfMembership(Membership):
    """Takes half of the voters for a quorum."""

    def is_quorum(self, sids: Collection[int]) -> bool:
        return len(self._all.intersection(sids)) >= len(self.voters) // 2

    def committed(self, held: Mapping[int, int]) -> int:
        return sorted([held.get(sid, -1) for sid in self.voters])[-(len(self.voters) // 2)]


class _Half(_Peer):
    def __init__(self, settings: ReplicaSettings, recovered: RecoveredState, now_ms: int) -> None:
        membership = _HalfMembership(settings.membership.servers.values())
        super().__init__(replace(settings, membership=membership), recovered, now_ms)


class _Forgetful(_Peer):
    """Does not write down the epoch that it promises."""

    def carry_out(self, operation: Operation, event: Event | None = None) -> None:
        if isinstance(operation, Cell) and operation.name == ACCEPTED_EPOCH and self.learner is not None:
            self.accepted_epoch = int(operation.value)
            if event is not None:
                self.learner.happened(event)
            return
        super().carry_out(operation, event)


class _ByName(Election):
    """Prefers the highest sid, whatever the histories are."""

    def _rank(self, vote: Vote) -> tuple[bool, int, int, int]:
        return True, 0, 0, vote.leader


class _ProudLeader(Leader):
    """Does not compare its history with that of those who join."""

    def _compare_history(self, learner: LearnerProgress) -> None:
        pass


class _NamedPeer(_Peer):
    election_class = _ByName
    leader_class = _ProudLeader


PLANTS: tuple[Plant, ...] = (
    Plant(
        "zab-acks-before-sync", "zab",
        "a follower acknowledges a proposal before it is on disk",
        "follower 尚未落盘就确认提案",
        ("Z9", "Z11", "A4"), {ZabPeer: _Hasty},
    ),
    Plant(
        "zab-epoch-not-stored", "zab",
        "a follower promises an epoch without writing it down",
        "follower 没有把承诺的纪元写入磁盘",
        ("Z10",), {ZabPeer: _Forgetful},
    ),
    Plant(
        "zab-highest-id-wins", "zab",
        "votes go to the highest sid, and its leader compares no histories",
        "投票只看 myid，leader 也不比较历史",
        ("Z8", "A1"), {ZabPeer: _NamedPeer},
    ),
    Plant(
        "zab-commits-at-first-ack", "zab",
        "the leader commits a proposal once one server has it",
        "只要有一个节点确认，leader 就提交",
        ("Z11", "A4"), {ZabPeer: _Lonely},
    ),
    Plant(
        "zab-tail-not-cut", "zab",
        "an old leader keeps proposals that the new one wants cut",
        "旧 leader 没有截断新 leader 要求截断的提案",
        ("Z2", "Z5"), {ZabPeer: _Keeping},
    ),
    Plant(
        "zab-half-is-enough", "zab",
        "half of the voters count as a quorum",
        "把一半节点当作多数派",
        ("Z1", "Z11"), {ZabPeer: _Half},
    ),
)  # fmt: skip
