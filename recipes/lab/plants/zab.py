"""Planted bugs of ZAB."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.quorum import Membership
from recipes.core.replication import Cell, Operation, ReplicaSettings
from recipes.core.zab.broadcast import Broadcast
from recipes.core.zab.election import Election, Vote
from recipes.core.zab.epochs import ACCEPTED_EPOCH
from recipes.core.zab.leader import Leader
from recipes.core.zab.learner import Learner
from recipes.core.zab.peer import RecoveredState, ZabPeer
from recipes.core.zab.progress import LearnerProgress
from recipes.core.zab.stages import Event, LearnerStage
from recipes.lab.plants.plant import Plant
from recipes.lab.served.reordered import ReorderingLearner


class _HastyLearner(Learner):
    """Acknowledges a proposal when it comes."""

    def _propose(self, packet: Packet) -> None:
        super()._propose(packet)
        self._send(q.encode_packet(q.ACK, packet.zxid))

    def flushed(self, zxid: int) -> None:
        """It is acknowledged already."""


class _Hasty(ZabPeer):
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


class _Lonely(ZabPeer):
    leader_class = _LonelyLeader


class _KeepingLearner(Learner):
    """Keeps the end of its log where the leader wants it cut."""

    def _truncate(self, packet: Packet) -> None:
        self._last_zxid = self._peer.history.last_zxid
        self._enter(LearnerStage.COLLECTING)


class _Keeping(ZabPeer):
    learner_class = _KeepingLearner


class _HalfMembership(Membership):
    """Takes half of the voters for a quorum."""

    def is_quorum(self, sids: Collection[int]) -> bool:
        return len(self._all.intersection(sids)) >= len(self.voters) // 2

    def committed(self, held: Mapping[int, int]) -> int:
        return sorted([held.get(sid, -1) for sid in self.voters])[-(len(self.voters) // 2)]


class _Half(ZabPeer):
    def __init__(self, settings: ReplicaSettings, recovered: RecoveredState, now_ms: int) -> None:
        membership = _HalfMembership(settings.membership.servers.values())
        super().__init__(replace(settings, membership=membership), recovered, now_ms)


class _Forgetful(ZabPeer):
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


class _NamedPeer(ZabPeer):
    election_class = _ByName
    leader_class = _ProudLeader


class _EagerLearner(ReorderingLearner):
    """Applies the txn that a COMMIT names, and no other: it does not wait for those before."""

    _peer: "_Eager"

    def _commit(self, packet: Packet) -> None:
        if not self._peer.apply_alone(packet.zxid):
            super()._commit(packet)


class _Eager(ZabPeer):
    learner_class = _EagerLearner

    def apply_alone(self, zxid: int) -> bool:
        """Hand over one entry, wherever it stands; False if it is not on disk yet."""
        unapplied = self._awaiting._unapplied
        found = next((entry for entry in unapplied if entry.zxid == zxid <= self.flushed_zxid), None)
        if found is not None:
            unapplied.remove(found)
            self._awaiting.ready.commits.append(found)
            self.committed_zxid = self.applied_zxid = zxid
        return found is not None


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
        ("Z8", "Z12", "A1"), {ZabPeer: _NamedPeer},
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
        "zab-commit-not-waited", "zab",
        "a follower gets COMMITs in the wrong order, and applies each without those before it",
        "COMMIT 乱序到达，follower 不等前面的事务就应用",
        ("A2",), {ZabPeer: _Eager},
    ),
    Plant(
        "zab-half-is-enough", "zab",
        "half of the voters count as a quorum",
        "把一半节点当作多数派",
        ("Z11", "Z1", "A5"), {ZabPeer: _Half},
    ),
)  # fmt: skip
