"""Raft's elections: a term and a vote, both on disk, before a server asks for votes or grants one.

docs/raft.md draws the stages. Source: Ongaro (2014), sections 3.4, 4.2.3, 6.4 and 9.6.
"""

from typing import TYPE_CHECKING, Final

from recipes.core.raft.claims import MOST_CLAIMED, is_far
from recipes.core.raft.terms import NOBODY
from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.election import ASK_AGAIN_MS, SharedElection
from recipes.core.replicas.stages import ElectionStage

if TYPE_CHECKING:
    from recipes.core.raft.peer import RaftPeer

_FAR_AFTER_ATTEMPTS: Final = 8  # some 15 s without a leader
_STANDING: Final = ElectionStage.STANDING


class Election(SharedElection):
    """This server's part in elections, through all of its life."""

    _peer: "RaftPeer"

    def __init__(self, peer: "RaftPeer") -> None:
        super().__init__(peer)
        self.asks_first: bool = peer.options.pre_vote
        self.checks_quorum: bool = peer.options.check_quorum
        self._guards = peer.options.guards_terms
        self._about = 0
        self._later: dict[int, int] = {}  # voter -> the later term that it says it is in; of one attempt
        self._least = 0  # this server has given way for one that is in this term
        self._promised: dict[int, int] = {}  # voter -> the term of the last question that this server has said yes to

    # The term to stand in. What others say of theirs is stored only once a quorum would elect this server in one above.

    @property
    def asks_about(self) -> int:
        """The term that the one of which this server asks (pre-vote) is to follow."""
        return max(self._peer.term, self._about)

    def go_above(self, term: int) -> None:
        """Stand above this term, unless another server leads first."""
        self._least = term

    def _choose_term(self) -> None:
        """The lowest term such that a quorum is in none above it, as far as others have said."""
        self._about = needed = self._least
        for term in sorted(filter(self._is_believed, self._later.values())):
            if self._is_quorum(needed):
                break
            needed = max(needed, term)
        if self._is_quorum(needed):
            self._about = needed
        self._later.clear()

    def _is_believed(self, term: int) -> bool:
        """Whether another server may be in this term. One that is far ahead counts where a leader is missing for long:
        others have that long to make it needless."""
        return not self._guards or not is_far(term, self._peer.term) or self._attempts >= _FAR_AFTER_ATTEMPTS

    def _would_do(self, ballot: Ballot) -> bool:
        return super()._would_do(ballot) and self._is_believed(ballot.term)

    def _is_quorum(self, term: int) -> bool:
        settings = self._peer.settings
        late = [sid for sid, other in self._later.items() if other <= term]
        return settings.membership.is_quorum([settings.sid, *self._granted, *late])

    def rest(self) -> None:
        """Drop an attempt that is under way; begin one in a moment, unless a leader is found before."""
        super().rest()
        self._later.clear()

    def stop(self) -> None:
        """A leader is found."""
        super().stop()
        self._least = 0
        self._promised.clear()

    def _grants_early(self, sid: int, term: int) -> None:
        self._promised[sid] = term

    def _refused(self, sid: int, term: int) -> None:
        """A server says no: it is in a later term."""
        peer = self._peer
        if not self._guards:
            peer.adopt(term, f"server {sid} is in term {term}")
        elif peer.leader is not None:
            peer.leader.is_late(sid, term)
        elif self.stage is ElectionStage.ASKING and sid in self._voters and term <= max(MOST_CLAIMED, peer.term + 1):
            self._later[sid] = term
            if self._at_ms is not None and len(self._granted | self._later.keys()) == len(self._voters):
                self._at_ms = min(self._at_ms, peer.now_ms + self._jitter(ASK_AGAIN_MS))  # no answer is missing

    def _led(self, sid: int, term: int) -> None:
        peer = self._peer
        if not self._guards or term <= peer.term:
            super()._led(sid, term)
        elif sid in self._voters and not self._hears_a_leader():
            peer.follow_into(sid, term)

    # Votes.

    def _stand(self) -> None:
        """Begin a term, and ask for votes in it once it and this server's own vote are on disk."""
        peer = self._peer
        self.stage = _STANDING
        self._granted = set()
        self._await_answers()
        peer.stand(self.asks_about)
        term = peer.term
        peer.when_durable(lambda: self._ask(term))

    def _ask(self, term: int) -> None:
        peer = self._peer
        if self.stage is not _STANDING or peer.term != term:
            return
        self._await_answers()
        self._granted = {peer.settings.sid}
        for sid in self._others():
            peer.say(sid, Ballot(Kind.ASK, term, peer.history.last_zxid))
        self._count_votes()

    def _count_votes(self) -> None:
        if self.stage is _STANDING and self._peer.settings.membership.is_quorum(self._granted):
            self.stop()
            self._peer.lead()
        else:
            super()._count_votes()

    def _told(self, sid: int, ballot: Ballot) -> None:
        peer, kind, term = self._peer, ballot.kind, ballot.term
        if kind is Kind.ASK:
            self._asked(sid, ballot)
        elif term > peer.term:
            if kind is Kind.REFUSE:
                self._refused(sid, term)
        elif term == peer.term and sid in self._voters and kind is Kind.GRANT:
            if self.stage is _STANDING and self._granted:
                self._granted.add(sid)
                self._count_votes()

    def _asked(self, sid: int, ballot: Ballot) -> None:
        peer = self._peer
        if ballot.term > peer.term:
            if self._hears_a_leader():
                self._say(sid, Kind.REFUSE if peer.leader is None else Kind.LEADS)
                return
            if self._guards and self._promised.get(sid) != ballot.term - 1:
                self._say(sid, Kind.REFUSE)
                return
            peer.adopt(ballot.term, f"server {sid} asks for votes in term {ballot.term}")
        if self._grants(sid, ballot):
            if peer.vote_in(peer.term) == NOBODY:
                peer.set_vote(sid)
                self.rest()
                self._await_answers()
            self._say(sid, Kind.GRANT)
        else:
            self._say(sid, Kind.REFUSE)

    def _grants(self, sid: int, ballot: Ballot) -> bool:
        """Whether a candidate gets this server's vote: one a term, for a log that ends no earlier than its own."""
        peer = self._peer
        return (
            ballot.term == peer.term
            and sid in self._voters
            and self._may_vote()
            and peer.leader is None
            and peer.vote_in(peer.term) in (NOBODY, sid)
            and ballot.zxid >= peer.history.last_zxid
        )

    def _still(self, sid: int, kind: Kind, term: int) -> bool:
        if kind is Kind.GRANT:
            return self._peer.vote_in(term) == sid
        return super()._still(sid, kind, term)
