"""Raft's elections: a term and a vote, both on disk, before a server asks for votes or grants one.

docs/raft.md draws the stages. Source: Ongaro (2014), sections 3.4, 4.2.3, 6.4 and 9.6.
"""

from typing import TYPE_CHECKING, Final

from recipes.core.raft.terms import NOBODY
from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.election import Election as AnyElection
from recipes.core.replicas.stages import ElectionStage

if TYPE_CHECKING:
    from recipes.core.raft.peer import RaftPeer

_STANDING: Final = ElectionStage.STANDING


class Election(AnyElection):
    """This server's part in elections, through all of its life."""

    _peer: "RaftPeer"

    def __init__(self, peer: "RaftPeer") -> None:
        super().__init__(peer)
        self.asks_first: bool = peer.options.pre_vote
        self.checks_quorum: bool = peer.options.check_quorum

    def _stand(self) -> None:
        """Begin a term, and ask for votes in it once it and this server's own vote are on disk."""
        peer = self._peer
        self.stage = _STANDING
        self._granted = set()
        self._await_answers()
        peer.stand()
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
        self._count()

    def _count(self) -> None:
        if self.stage is _STANDING and self._peer.settings.membership.is_quorum(self._granted):
            self.stop()
            self._peer.lead()
        else:
            super()._count()

    def _told(self, sid: int, ballot: Ballot) -> None:
        peer, kind, term = self._peer, ballot.kind, ballot.term
        if kind is Kind.ASK:
            self._asked(sid, ballot)
        elif term > peer.term:
            if kind is Kind.REFUSE:
                peer.adopt(term, f"server {sid} is in term {term}")
        elif term == peer.term and sid in self._voters and kind is Kind.GRANT:
            if self.stage is _STANDING and self._granted:
                self._granted.add(sid)
                self._count()

    def _asked(self, sid: int, ballot: Ballot) -> None:
        peer = self._peer
        if ballot.term > peer.term:
            if self._hears_a_leader():
                self._say(sid, Kind.REFUSE if peer.leader is None else Kind.LEADS)
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
