"""More planted bugs of Raft: how logs are made equal, snapshots, and who counts as a majority."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from recipes.core.quorum import Membership
from recipes.core.raft.election import Election
from recipes.core.raft.follower import Follower
from recipes.core.raft.leader import Leader
from recipes.core.raft.options import RaftOptions
from recipes.core.raft.peer import RaftPeer
from recipes.core.replicas import matching
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.stages import ElectionStage
from recipes.core.replication import Recovered, ReplicaSettings
from recipes.core.zxid import counter_of, start_of
from recipes.lab.plants.plant import Plant
from recipes.lab.plants.raft import PlantedPeer

_FIVE = {"server": 5}


class _KeepingFollower(Follower):
    """Keeps its own entries where the leader has others, and says that it has the leader's."""

    def _append(self, append: w.Append) -> None:
        peer = self._peer
        found = matching.matched(peer.history, peer.committed_zxid, append.prev_zxid)
        if found is not None and matching.change(peer.history, found, append.entries).cut_zxid is not None:
            self._matched_zxid = max(self._matched_zxid, append.entries[-1].zxid)
            append = append._replace(entries=[])
        super()._append(append)


class _Keeping(PlantedPeer):
    follower_class = _KeepingFollower


class _CuttingFollower(Follower):
    """Deletes all that it does not know to be committed before it takes anything from a leader."""

    def _match(self, append: w.Append) -> None:
        peer = self._peer
        if peer.history.last_zxid > peer.committed_zxid >= 0:
            peer.cut(peer.committed_zxid)
        super()._match(append)


class _Cutting(PlantedPeer):
    follower_class = _CuttingFollower


class _DoubleElection(Election):
    """Counts who has said yes before it stood, and then votes, as two."""

    def __init__(self, peer: RaftPeer) -> None:
        super().__init__(peer)
        self._early: set[int] = set()

    def receive(self, sid: int, ballot: Ballot) -> None:
        if ballot.kind is Kind.GRANT_EARLY:
            self._early.add(sid)
        elif ballot.kind is Kind.GRANT and self.stage is ElectionStage.STANDING and sid in self._early:
            others = [voter for voter in self._voters if voter not in self._granted and voter != sid]
            self._granted.update(others[:1])
        super().receive(sid, ballot)


class _Double(PlantedPeer):
    election_class = _DoubleElection


class _OldMembership(Membership):
    """Takes two servers for a majority, as of three, while there are five."""

    def is_quorum(self, sids: Collection[int]) -> bool:
        return len(self._all.intersection(sids)) >= 2

    def committed(self, held: Mapping[int, int]) -> int:
        return sorted([held.get(sid, -1) for sid in self.voters])[-2]


class _Old(RaftPeer):
    def __init__(self, settings: ReplicaSettings, found: Recovered, options: RaftOptions, now_ms: int) -> None:
        membership = _OldMembership(settings.membership.servers.values())
        super().__init__(replace(settings, membership=membership), found, options, now_ms)


class _RenamingLeader(Leader):
    """Sends a snapshot with the number of its last entry, but with the leader's own term."""

    def dumped(self, link: int, zxid: int, chunks: Iterator[bytes]) -> None:
        super().dumped(link, start_of(self.term) + counter_of(zxid), chunks)


class _Renaming(PlantedPeer):
    leader_class = _RenamingLeader


PLANTS = (
    Plant(
        "raft-conflict-not-deleted", "raft",
        "a follower keeps its own entries where the leader has others, and says that it has the leader's",
        "follower 没有删除与 leader 冲突的日志，却声称已经一致",
        ("RF6", "RF8"), {RaftPeer: _Keeping},
    ),
    Plant(
        "raft-deletes-without-conflict", "raft",
        "a follower deletes what it does not know to be committed, whether the leader has it or not",
        "follower 没有冲突也删除尚未确知已提交的日志",
        ("A3",), {RaftPeer: _Cutting},
    ),
    Plant(
        "raft-vote-counted-twice", "raft",
        "a candidate counts a yes before it stands, and the vote of the same server, as two votes",
        "候选人把同一节点参选前的同意和正式投票计为两票",
        ("RF1",), {RaftPeer: _Double}, sites=_FIVE,
    ),
    Plant(
        "raft-quorum-of-old-size", "raft",
        "two servers count as a majority, as they did when there were three",
        "集群已扩大到五个节点，仍把两个节点当作多数派",
        ("RF1", "RF10"), {RaftPeer: _Old}, sites=_FIVE,
    ),
    Plant(
        "raft-snapshot-without-term", "raft",
        "a snapshot says where it ends, but not in which term",
        "快照只记下最后的位置，没有记下它的任期",
        ("A2",), {RaftPeer: _Renaming}, wipes=True,
    ),
)  # fmt: skip
