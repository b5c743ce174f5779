"""Who proposes: a server that would be heard begins a ballot of its own, and asks for promises.

Any server may propose whose log reaches back far enough: what it lacks it learns from the promises. While a leader is
heard of, nobody promises another ballot: that is its lease.
"""

from typing import TYPE_CHECKING

from recipes.core.paxos.numbers import proposer_of
from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.election import SharedElection

if TYPE_CHECKING:
    from recipes.core.paxos.peer import PaxosPeer


class Election(SharedElection):
    """This server's part in elections, through all of its life."""

    _peer: "PaxosPeer"

    def _stand(self) -> None:
        self.stop()
        self._peer.stand()

    def _told(self, sid: int, ballot: Ballot) -> None:
        peer, kind, term = self._peer, ballot.kind, ballot.term
        if kind is Kind.PREPARE:
            self._prepared(sid, ballot)
        elif kind is Kind.REFUSE and term > peer.term:
            peer.adopt(term, f"server {sid} has promised ballot {term}")
        elif kind is Kind.REFUSE and sid in self._voters and peer.leader is not None:
            peer.leader.denied(sid)

    def _prepared(self, sid: int, ballot: Ballot) -> None:
        """A proposer asks for a promise. It goes over the quorum port, with what was accepted."""
        peer = self._peer
        if ballot.term > peer.term and self._hears_a_leader():
            self._say_leader(sid)
        elif self._promises(sid, ballot):
            if ballot.term > peer.term:
                peer.adopt(ballot.term, f"server {sid} prepares ballot {ballot.term}")
            peer.follow(sid)
        else:
            self._say(sid, Kind.REFUSE)

    def _promises(self, sid: int, ballot: Ballot) -> bool:
        """Whether a proposer gets this server's promise."""
        return (
            ballot.term >= self._peer.term
            and proposer_of(ballot.term) == sid
            and sid in self._voters
            and self._may_vote()
            and self._reaches(ballot.zxid)
        )

    def _reaches(self, zxid: int) -> bool:
        """Whether a proposer whose log ends at `zxid` can be told what it may lack: that is still in memory here."""
        return self._peer.history.floor(zxid) is not None

    def _would_do(self, ballot: Ballot) -> bool:
        return self._reaches(ballot.zxid)

    def _say_leader(self, sid: int) -> None:
        leader = self._peer.leader
        self._say(sid, Kind.LEADS if leader is not None and leader.prepared else Kind.REFUSE)

    def _still(self, sid: int, kind: Kind, term: int) -> bool:
        leader = self._peer.leader
        return kind is not Kind.LEADS or (leader is not None and leader.prepared)
