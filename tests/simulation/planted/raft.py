"""Bugs in raft: those that other implementations have had, and those that a hasty reading of the paper leads to."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from recipes.core.history import History
from recipes.core.quorum import Membership
from recipes.core.raft import peer as peer_module
from recipes.core.raft.election import Election
from recipes.core.raft.follower import Follower
from recipes.core.raft.leader import Leader
from recipes.core.raft.peer import RaftPeer
from recipes.core.raft.terms import ABSTAINS, VOTE, Vote
from recipes.core.replicas import matching
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.matching import LogChange
from recipes.core.replicas.progress import Progress
from recipes.core.replicas.read_index import ReadIndex
from recipes.core.replicas.stages import ElectionStage, ProgressStage
from recipes.core.replicas.terms import TERM
from recipes.core.replication import Cell
from recipes.core.zxid import counter_of, start_of
from tests.simulation.planted.bug import PLANTED_IN_RAFT, Patch, applies_last_only, before, behind
from tests.simulation.planted.bug import planted as planted_somewhere

planted = partial(planted_somewhere, where=PLANTED_IN_RAFT)


def without_cells(patch: Patch, name: str) -> None:
    original = RaftPeer._carry_out

    def carry_out(self: RaftPeer, operation: Any) -> None:
        if not (isinstance(operation, Cell) and operation.name == name):
            original(self, operation)

    patch.setattr(RaftPeer, "_carry_out", carry_out)


@planted(1, "RF2")
def vote_not_stored(patch: Patch) -> None:
    """akka-raft#56."""
    without_cells(patch, VOTE)


@planted(1, "RF2")
def term_not_stored(patch: Patch) -> None:
    without_cells(patch, TERM)


@planted(1, "RF2")
def vote_told_before_it_is_stored(patch: Patch) -> None:
    patch.setattr(RaftPeer, "when_durable", lambda self, action: action())


@planted(2, "RF7", kinds=("isolation", "kill", "slow disk"))
def entry_of_an_earlier_term_committed_by_counting(patch: Patch) -> None:
    """logcabin#44; figure 8 of the paper."""

    def count(self: Leader) -> None:
        peer = self._peer
        held = {progress.sid: progress.durable_zxid for progress in self._by_sid.values() if progress.counts}
        zxid = self._membership.committed(held | {peer.settings.sid: peer.flushed_zxid})
        if zxid > peer.committed_zxid:
            peer.commit(zxid)
        self._answer_syncs()

    patch.setattr(Leader, "_commit_what_a_quorum_has", count)


@planted(146, "RF1", 5, kinds=("reset of votes", "kill", "isolation"))
def vote_counted_twice(patch: Patch) -> None:
    """coyote-samples#8."""

    def counted(self: Election, sid: int, ballot: Ballot) -> None:
        if ballot.kind is Kind.GRANT and self.stage is ElectionStage.STANDING and sid in self._granted:
            self._granted.add(next(voter for voter in self._voters if voter not in self._granted))

    before(patch, Election, "receive", counted)


@planted(2, "RF5", kinds=("isolation", "partition", "kill"))
def vote_for_a_log_that_ends_earlier(patch: Patch) -> None:
    original = Election.receive

    def receive(self: Election, sid: int, ballot: Ballot) -> None:
        asks = ballot.kind in (Kind.ASK, Kind.ASK_EARLY) and ballot.zxid != -1
        original(self, sid, ballot._replace(zxid=1 << 62) if asks else ballot)

    patch.setattr(Election, "receive", receive)


@planted(8, "A4", kinds=("isolation", "partition", "kill"))
def conflict_not_deleted(patch: Patch) -> None:
    original = matching.change

    def change(history: History, matched_zxid: int, entries: Any) -> LogChange:
        found = original(history, matched_zxid, entries)
        return LogChange(None, ()) if found.cut_zxid is not None else found

    patch.setattr(matching, "change", change)


@planted(3, "A3", kinds=("reset", "isolation"))
def deletes_without_conflict(patch: Patch) -> None:
    def cut(self: Follower, append: w.Append) -> None:
        peer = self._peer
        if peer.history.last_zxid > peer.committed_zxid >= 0:
            peer.cut(peer.committed_zxid)

    before(patch, Follower, "_match", cut)


@planted(89, "RF4", kinds=("isolation", "partition", "kill"))
def commit_beyond_what_was_matched(patch: Patch) -> None:
    original = Follower._commit

    def commit(self: Follower, zxid: int) -> None:
        own, self._matched_zxid = self._matched_zxid, zxid
        original(self, zxid)
        self._matched_zxid = own

    patch.setattr(Follower, "_commit", commit)


@planted(1, "RF10")
def leader_counts_itself_before_its_sync(patch: Patch) -> None:
    original = Leader._commit_what_a_quorum_has

    def count(self: Leader) -> None:
        peer = self._peer
        flushed, peer.flushed_zxid = peer.flushed_zxid, peer.history.last_zxid
        release = peer.release
        peer.release = lambda: None  # type: ignore[method-assign]
        original(self)
        peer.flushed_zxid = flushed
        peer.release = release  # type: ignore[method-assign]

    patch.setattr(Leader, "_commit_what_a_quorum_has", count)
    behind(patch, Leader, "propose", lambda self, entry: self._commit_what_a_quorum_has())


@planted(1, "RF10")
def follower_acknowledges_before_its_sync(patch: Patch) -> None:
    def acknowledge(self: Follower) -> None:
        matched = self._matched_zxid
        self._send(w.encode_appended(self._peer.term, matched, matched, self._round, list(self._touches.items())))

    patch.setattr(Follower, "_acknowledge", acknowledge)


@planted(1, "RF1", 5)
def quorum_of_a_smaller_ensemble(patch: Patch) -> None:
    """openraft#1802: of three servers, while there are five."""

    def is_quorum(self: Membership, sids: Collection[int]) -> bool:
        return len(self._all.intersection(sids)) >= 2

    def committed(self: Membership, held: Mapping[int, int]) -> int:
        return sorted([held.get(sid, -1) for sid in self.voters])[-2]

    patch.setattr(Membership, "is_quorum", is_quorum)
    patch.setattr(Membership, "committed", committed)


@planted(17, "RF4", kinds=("isolation", "partition", "kill"))
def stale_reply_moves_the_next_index(patch: Patch) -> None:
    """The leader believes the first word of where a follower's log ends, which may be of another term's entry.

    Alone this is harmless, since the follower checks the entry before: so that check goes too.
    """

    def introduce(self: Leader, progress: Progress, hello: w.Hello) -> None:
        if progress.stage is ProgressStage.PROBING:
            progress.replicate(hello.last_zxid, self._peer.history.last_zxid)

    behind(patch, Leader, "_introduce", introduce)
    patch.setattr(matching, "matched", lambda history, committed_zxid, prev_zxid: history.floor(prev_zxid))


@planted(3, "RF8", kinds=("wipe", "kill"))
def snapshot_without_its_last_term(patch: Patch) -> None:
    original = Leader.dumped

    def dumped(self: Leader, link: int, zxid: int, chunks: Any) -> None:
        original(self, link, start_of(self.term) + counter_of(zxid), chunks)

    patch.setattr(Leader, "dumped", dumped)


@planted(21, "C2", kinds=("isolation", "partition", "pause"))
def read_without_a_read_index(patch: Patch) -> None:
    def answer(self: ReadIndex, committed_zxid: int, rounds: Any, reply: Any) -> None:
        while self._syncs and self._syncs[0].zxid <= committed_zxid:
            first = self._syncs.popleft()
            reply(first.link, first.token)

    patch.setattr(ReadIndex, "answer", answer)


@planted(1, "RF3", kinds=("isolation", "partition"))
def uncommitted_entries_rolled_back_at_step_down(patch: Patch) -> None:
    """CCF#5674."""

    def roll_back(self: Leader) -> None:
        peer = self._peer
        if peer.history.last_zxid > peer.committed_zxid:
            peer.cut(peer.committed_zxid)

    before(patch, Leader, "end", roll_back)


@planted(22, "RF10", kinds=("wipe", "rot", "kill"))
def snapshot_counts_before_it_is_on_disk(patch: Patch) -> None:
    def install(self: RaftPeer, zxid: int, body: bytes) -> None:
        self.flushed_zxid = zxid

    behind(patch, RaftPeer, "install", install)


@planted(21, "A2", kinds=("wipe", "kill"))
def serving_a_tree_before_what_it_shows_is_applied(patch: Patch) -> None:
    """Our own, found by the simulation."""
    behind(patch, Follower, "_install", lambda self, end: setattr(self, "_shown_zxid", 0))


@planted(3, "C6", kinds=("kill", "isolation"))
def serving_before_everything_committed_is_known(patch: Patch) -> None:
    def commit(self: Follower, zxid: int) -> None:
        if self._serves_from is None:
            self._serves_from = min(zxid, self._matched_zxid)

    before(patch, Follower, "_commit", commit)


@planted(10, "RF10")
def candidate_with_a_log_that_is_not_on_disk(patch: Patch) -> None:
    patch.setattr(RaftPeer, "is_drained", property(lambda self: not self._operations))


@planted(1, "RF6")
def applies_only_the_last_of_several(patch: Patch) -> None:
    applies_last_only(patch, RaftPeer)


@planted(1, "RF9", kinds=("isolation", "kill"))
def commit_index_of_the_slowest(patch: Patch) -> None:
    """The leader tells what all followers have, not what is committed: that falls when one of them joins."""

    def known_zxid(self: Leader) -> int:
        held = [progress.durable_zxid for progress in self._by_sid.values() if progress.counts]
        return min([self._peer.committed_zxid, *held])

    patch.setattr(Leader, "_known_zxid", known_zxid)


def vote_after_a_disk_was_replaced(patch: Patch) -> None:
    """It takes a vote that is still counted elsewhere; a story finds it at once, see tests/core/raft/test_peer.py."""

    def set_vote(self: RaftPeer, candidate: int) -> None:
        self.vote = Vote(self.term, -1 if candidate == ABSTAINS else candidate)
        self._carry_out(peer_module.vote_cell(self.vote))

    patch.setattr(RaftPeer, "set_vote", set_vote)
