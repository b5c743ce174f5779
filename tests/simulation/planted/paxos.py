"""Bugs in Multi-Paxos: those that other implementations have had, and those that a hasty reading leads to."""

from functools import partial
from typing import Any

from recipes.core.paxos import peer as peer_module
from recipes.core.paxos import wire as p
from recipes.core.paxos.election import Election
from recipes.core.paxos.follower import Follower
from recipes.core.paxos.leader import Leader
from recipes.core.paxos.numbers import proposer_of
from recipes.core.paxos.peer import PaxosPeer
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.progress import Progress
from recipes.core.replicas.terms import TERM
from recipes.core.replication import Cell
from recipes.core.zxid import counter_of, start_of
from tests.simulation.planted.bug import PLANTED_IN_PAXOS, Patch, applies_last_only, before, behind
from tests.simulation.planted.bug import planted as planted_somewhere

planted = partial(planted_somewhere, where=PLANTED_IN_PAXOS)
APART = ("isolation", "partition", "kill")


@planted(1, "P5")
def promise_not_stored(patch: Patch) -> None:
    original = PaxosPeer._carry_out

    def carry_out(self: PaxosPeer, operation: Any) -> None:
        if not (isinstance(operation, Cell) and operation.name == TERM):
            original(self, operation)

    patch.setattr(PaxosPeer, "_carry_out", carry_out)


@planted(1, "P5")
def promise_told_before_it_is_stored(patch: Patch) -> None:
    patch.setattr(PaxosPeer, "when_durable", lambda self, action: action())


@planted(2, "P4", kinds=APART)
def accept_below_a_promise(patch: Patch) -> None:
    """A leader that a server has followed goes on being heard there, although another ballot was promised since."""
    original = Follower.end

    def end(self: Follower) -> None:
        link = self._link
        if link is None or self.stage.name != "SERVING" or link.wants_close:
            original(self)
            return
        self._link = None
        peer, ballot = self._peer, self._own_term  # type: ignore[attr-defined]

        def receive(link: Any, message: Any) -> None:
            if isinstance(message, w.Append):
                link.send(w.encode_appended(ballot, message.prev_zxid, peer.flushed_zxid, message.round))

        link._handle = receive

    def begun(self: Follower, *args: Any) -> None:
        self._own_term = self._peer.term  # type: ignore[attr-defined]

    behind(patch, Follower, "__init__", begun)
    patch.setattr(Follower, "end", end)


@planted(3, "A3", kinds=APART)
def adopts_the_first_promise_in_place_of_the_highest(patch: Patch) -> None:
    def best(self: Leader) -> int:
        return next((sid for sid in self._promises if sid != self._peer.settings.sid), self._peer.settings.sid)

    patch.setattr(Leader, "_best", best)


@planted(35, "P3", kinds=APART)
def own_log_despite_a_promise_with_another(patch: Patch) -> None:
    """As read in a simulator's Multi-Paxos: what promises report is collected, and never used."""
    patch.setattr(Leader, "_best", lambda self: self._peer.settings.sid)


@planted(37, "P8", kinds=APART)
def the_longest_log_in_place_of_the_highest_ballot(patch: Patch) -> None:
    def best(self: Leader) -> int:
        return max(self._promises, key=lambda sid: (self._promises[sid].last_zxid & 0xFFFFFFFF, sid))

    patch.setattr(Leader, "_best", best)


@planted(2, "P6", kinds=("kill", "power cut"))
def ballot_used_again_after_a_restart(patch: Patch) -> None:
    """The counter starts from the ballot that it has promised, not behind it, if that was its own."""
    original = peer_module.next_ballot
    patch.setattr(
        peer_module, "next_ballot", lambda ballot, sid: ballot if proposer_of(ballot) == sid else original(ballot, sid)
    )


@planted(1, "P8")
def chosen_before_a_majority(patch: Patch) -> None:
    def held(self: Leader) -> int:
        return max([progress.durable_zxid for progress in self._by_sid.values() if progress.counts], default=-1)

    patch.setattr(Leader, "_held", held)


@planted(1, "P5")
def accepted_before_it_is_on_disk(patch: Patch) -> None:
    patch.setattr(Follower, "_durable", lambda self: self._matched_zxid)


@planted(3, "P3", kinds=APART)
def promises_of_another_ballot_count(patch: Patch) -> None:
    """Who has answered the question before, in the ballot before, counts as if it had promised this one."""
    granted: dict[int, set[int]] = {}

    def stand(self: Election) -> None:
        granted[id(self._peer)] = set(self._granted)

    def begin(self: Leader) -> None:
        for sid in granted.pop(id(self._peer), ()):
            self._promises.setdefault(sid, p.Promise(self.term, 0, 0, 0))

    before(patch, Election, "_stand", stand)
    before(patch, Leader, "begin", begin)


@planted(1, "P5", kinds=APART)
def answers_of_an_earlier_ballot_count(patch: Patch) -> None:
    """What was accepted in an earlier ballot counts as accepted in this one, without a new vote."""

    def introduce(self: Leader, progress: Progress, hello: w.Hello) -> None:
        progress.durable_zxid = hello.last_zxid

    behind(patch, Leader, "_introduce", introduce)
    patch.setattr(Follower, "_durable", lambda self: min(self._matched_zxid, self._peer.flushed_zxid))


@planted(2, "P8", kinds=APART)
def what_was_reported_counts_as_chosen(patch: Patch) -> None:
    """The new leader takes all that it adopts for chosen, and votes on none of it."""

    def lead(self: Leader) -> None:
        if self._peer.history.last_zxid > self._peer.committed_zxid:
            self._peer.commit(self._peer.history.last_zxid)

    behind(patch, Leader, "_lead", lead)


@planted(1, "P3", kinds=APART)
def accepts_a_ballot_before_its_whole_log(patch: Patch) -> None:
    def taken(self: Follower) -> None:
        if self._peer.accepted != self._peer.term and not self._peer.abstains:
            self._peer.accept_log()

    patch.setattr(Follower, "_taken", taken)


@planted(2, "P4", 5, kinds=("clog", "delay", "isolation", "kill"))
def promise_of_a_lower_ballot(patch: Patch) -> None:
    original = Election._prepared

    def prepared(self: Election, sid: int, ballot: Ballot) -> None:
        if ballot.kind is Kind.PREPARE and ballot.term < self._peer.term and not self._hears_a_leader():
            self._peer.look("a ballot is prepared")
            self._peer.term = ballot.term
            self._peer._carry_out(Cell(TERM, b"%d" % ballot.term))
        original(self, sid, ballot)

    patch.setattr(Election, "_prepared", prepared)


@planted(1, "P5")
def report_of_what_is_not_on_disk(patch: Patch) -> None:
    original = p.encode_promise

    def promise(ballot: int, accepted: int, last_zxid: int, chosen_zxid: int) -> bytes:
        return original(ballot, ballot, last_zxid, chosen_zxid)

    patch.setattr(p, "encode_promise", promise)


@planted(11, "P1", 5, kinds=("isolation", "partition"))
def proposer_that_takes_the_shortest_log_and_does_not_accept_it(patch: Patch) -> None:
    """It leaves it to the others to accept what it proposes."""
    original = PaxosPeer.accept_log

    def accept_log(self: PaxosPeer) -> None:
        if self.leader is None:
            original(self)

    def shortest(self: Leader) -> int:
        return min(self._promises, key=lambda sid: (self._promises[sid].last_zxid, sid != self._peer.settings.sid))

    patch.setattr(PaxosPeer, "accept_log", accept_log)
    patch.setattr(Leader, "_best", shortest)


@planted(1, "P2", kinds=("wipe", "kill"))
def snapshot_under_the_ballot_of_now(patch: Patch) -> None:
    """The acceptor takes a tree for one of this ballot, whatever ballot its last entry is of."""
    original = PaxosPeer.install

    def install(self: PaxosPeer, zxid: int, body: bytes) -> None:
        original(self, start_of(self.term) + counter_of(zxid), body)

    patch.setattr(PaxosPeer, "install", install)


@planted(11, "P7", kinds=("wipe", "kill"))
def snapshot_of_what_is_not_applied(patch: Patch) -> None:
    """The tree is said to be as of the end of the log."""
    original = Leader.dumped

    def dumped(self: Leader, link: int, zxid: int, chunks: Any) -> None:
        original(self, link, self._peer.history.last_zxid, chunks)

    patch.setattr(Leader, "dumped", dumped)


@planted(1, "P7")
def applies_only_the_last_of_several(patch: Patch) -> None:
    applies_last_only(patch, PaxosPeer)
