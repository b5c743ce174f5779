"""Planted bugs of Raft: mistakes that other implementations have had, and those of a hasty reading of the paper."""

from typing import Any

from recipes.core.raft.election import Election
from recipes.core.raft.follower import Follower
from recipes.core.raft.leader import Leader
from recipes.core.raft.peer import RaftPeer
from recipes.core.raft.terms import VOTE
from recipes.core.replicas import matching
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.progress import Progress
from recipes.core.replicas.read_index import ReadIndex
from recipes.core.replicas.terms import TERM
from recipes.core.replication import Cell, Operation
from recipes.lab.plants.plant import Plant


class PlantedPeer(RaftPeer):
    """A peer whose parts may be replaced."""

    leader: Leader | None
    leader_class: type[Leader] = Leader
    follower_class: type[Follower] = Follower
    election_class: type[Election] = Election

    def _new_election(self) -> Election:
        return self.election_class(self)

    def _new_follower(self, sid: int) -> Follower:
        return self.follower_class(self, sid)

    def lead(self) -> None:
        self.leader = self.leader_class(self)
        self.leader.begin()


class _Forgetful(PlantedPeer):
    forgets = VOTE

    def _carry_out(self, operation: Operation) -> None:
        if not (isinstance(operation, Cell) and operation.name == self.forgets):
            super()._carry_out(operation)


class _TermForgetful(_Forgetful):
    forgets = TERM


class _CountingLeader(Leader):
    """Counts entries of any term."""

    def _commit_what_a_quorum_has(self) -> None:
        peer = self._peer
        held = {progress.sid: progress.durable_zxid for progress in self._by_sid.values() if progress.counts}
        zxid = self._membership.committed(held | {peer.settings.sid: peer.flushed_zxid})
        if zxid > peer.committed_zxid:
            peer.commit(zxid)
        self._answer_syncs()


class _CountsOlder(PlantedPeer):
    leader_class = _CountingLeader


class _TrustingElection(Election):
    """Votes for whoever asks, however short its log is."""

    def receive(self, sid: int, ballot: Ballot) -> None:
        asks = ballot.kind in (Kind.ASK, Kind.ASK_EARLY) and ballot.zxid != -1
        super().receive(sid, ballot._replace(zxid=1 << 62) if asks else ballot)


class _Trusting(PlantedPeer):
    election_class = _TrustingElection


class _BelievingLeader(Leader):
    """Takes the end of a follower's log for the entry up to which both agree."""

    def _introduce(self, progress: Progress, hello: w.Hello) -> None:
        super()._introduce(progress, hello)
        if progress.sid != -1 and 0 <= hello.last_zxid:
            progress.replicate(min(hello.last_zxid, self._peer.history.last_zxid), self._peer.history.last_zxid)


class _BelievingFollower(Follower):
    """Does not look whether it has the entry before."""

    def _match(self, append: w.Append) -> None:
        history = self._peer.history
        if matching.matched(history, self._peer.committed_zxid, append.prev_zxid) is None:
            append = append._replace(prev_zxid=history.floor(append.prev_zxid) or 0)
        super()._match(append)

    def _append(self, append: w.Append) -> None:
        history = self._peer.history
        if matching.matched(history, self._peer.committed_zxid, append.prev_zxid) is None:
            append = append._replace(prev_zxid=history.floor(append.prev_zxid) or 0)
        super()._append(append)


class _Believing(PlantedPeer):
    leader_class = _BelievingLeader
    follower_class = _BelievingFollower


class _EagerFollower(Follower):
    """Commits up to where the leader has, whatever its own log is."""

    def _commit(self, zxid: int) -> None:
        own, self._matched_zxid = self._matched_zxid, max(zxid, self._matched_zxid)
        super()._commit(zxid)
        self._matched_zxid = own


class _Eager(PlantedPeer):
    follower_class = _EagerFollower


class _HastyLeader(Leader):
    """Counts itself before its own sync."""

    def propose(self, entry: Any) -> None:
        super().propose(entry)
        peer = self._peer
        flushed, peer.flushed_zxid = peer.flushed_zxid, peer.history.last_zxid
        held = {progress.sid: progress.durable_zxid for progress in self._by_sid.values() if progress.counts}
        zxid = self._membership.committed(held | {peer.settings.sid: peer.flushed_zxid})
        peer.flushed_zxid = flushed
        if zxid > peer.committed_zxid:
            peer.committed_zxid = zxid

    def _acknowledged(self, progress: Progress, appended: w.Appended) -> None:
        peer = self._peer
        flushed, peer.flushed_zxid = peer.flushed_zxid, peer.history.last_zxid
        super()._acknowledged(progress, appended)
        peer.flushed_zxid = flushed


class _Hasty(PlantedPeer):
    leader_class = _HastyLeader


class _HastyFollower(Follower):
    """Acknowledges what is not on its disk yet."""

    def _acknowledge(self) -> None:
        matched = self._matched_zxid
        self._send(w.encode_appended(self._peer.term, matched, matched, self._round, list(self._touches.items())))


class _HastyServer(PlantedPeer):
    follower_class = _HastyFollower


class _AlwaysSure(ReadIndex):
    """Answers without asking whether it still leads."""

    def answer(self, committed_zxid: int, rounds: Any, reply: Any) -> None:
        while self._syncs and self._syncs[0].zxid <= committed_zxid:
            first = self._syncs.popleft()
            reply(first.link, first.token)


class _SureLeader(Leader):
    def __init__(self, peer: RaftPeer) -> None:
        super().__init__(peer)
        self._read_index = _AlwaysSure(peer.settings.sid, peer.settings.membership)


class _Sure(PlantedPeer):
    leader_class = _SureLeader


class _TidyLeader(Leader):
    """Takes back what is not committed when it steps down."""

    def end(self) -> None:
        peer = self._peer
        if peer.history.last_zxid > peer.committed_zxid >= 0:
            peer.cut(peer.committed_zxid)
        super().end()


class _Tidy(PlantedPeer):
    leader_class = _TidyLeader


class _Impatient(PlantedPeer):
    """Applies what is on its disk, committed or not."""

    def release(self) -> None:
        committed, self.committed_zxid = self.committed_zxid, self.flushed_zxid
        super().release()
        self.committed_zxid = committed


class _ObedientFollower(Follower):
    """Takes over the leader's commit index, even if it is below its own."""

    def _commit(self, zxid: int) -> None:
        super()._commit(zxid)
        self._peer.committed_zxid = min(zxid, self._peer.committed_zxid)


class _Obedient(PlantedPeer):
    follower_class = _ObedientFollower


def _plant(name: str, says: str, says_zh: str, finds: tuple[str, ...], peer: type[RaftPeer]) -> Plant:
    return Plant(f"raft-{name}", "raft", says, says_zh, finds, {RaftPeer: peer})


PLANTS = (
    _plant(
        "vote-not-stored", "a server does not write down its vote", "节点没有把投票写入磁盘", ("RF2", "RF1"), _Forgetful
    ),
    _plant(
        "term-not-stored", "a server does not write down its term", "节点没有把任期写入磁盘", ("RF2",), _TermForgetful
    ),
    _plant(
        "counts-earlier-term",
        "a leader commits an entry of an earlier term as soon as a majority has it",
        "leader 一看到多数派拥有旧任期的日志就提交",
        ("RF7",),
        _CountsOlder,
    ),
    _plant(
        "votes-for-older-log",
        "a server votes for a candidate whose log ends before its own",
        "节点投票给日志比自己旧的候选人",
        ("RF5", "A1"),
        _Trusting,
    ),
    _plant(
        "no-check-of-the-entry-before",
        "nobody checks whether both logs have the entry before the new ones",
        "没有检查新日志的前一条是否一致",
        ("RF4",),
        _Believing,
    ),
    _plant(
        "commits-unmatched",
        "a follower commits as far as the leader says, though its log may differ there",
        "follower 按 leader 的位置提交，尽管自己的日志可能不同",
        ("RF6", "RF8", "A2"),
        _Eager,
    ),
    _plant(
        "counts-before-sync",
        "a leader counts itself before its own disk has the entry",
        "leader 在自己落盘之前就把自己计入多数派",
        ("RF10", "A4"),
        _Hasty,
    ),
    _plant(
        "acks-before-sync",
        "a follower acknowledges an entry that its disk does not have yet",
        "follower 尚未落盘就确认日志",
        ("RF10", "A4", "A3"),
        _HastyServer,
    ),
    _plant(
        "no-read-index",
        "a leader answers a sync without asking whether it still leads",
        "leader 不确认自己是否仍是 leader 就应答 sync",
        ("A6",),
        _Sure,
    ),
    _plant(
        "rolls-back",
        "a leader that steps down takes back what it has not committed",
        "leader 退位时撤回自己尚未提交的日志",
        ("RF3", "A3"),
        _Tidy,
    ),
    _plant(
        "applies-uncommitted",
        "a server applies what is on its disk before it is committed",
        "节点在日志提交之前就应用它",
        ("RF8", "A2", "A5"),
        _Impatient,
    ),
    _plant(
        "commit-index-falls",
        "a follower takes over a commit index that is below its own",
        "follower 接受了比自己更小的提交位置",
        ("RF9",),
        _Obedient,
    ),
)
