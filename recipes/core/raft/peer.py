"""A server of an ensemble that runs raft, as a Replica: its term and its vote.

Nothing that it says depends on a term, a vote or an entry that its disk does not have.
Source: Ongaro and Ousterhout, In Search of an Understandable Consensus Algorithm (2014); Ongaro, Consensus: Bridging
Theory and Practice (2014), chapters 3, 5, 6 and 9.
"""

from recipes.core.errors import invariant
from recipes.core.quorum import Membership
from recipes.core.raft.claims import MOST_TERM, LateTerms
from recipes.core.raft.election import Election
from recipes.core.raft.follower import Follower
from recipes.core.raft.leader import Leader
from recipes.core.raft.options import RaftOptions
from recipes.core.raft.terms import ABSTAINS, NOBODY, Vote, stored_vote, vote_cell
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas.ballots import ensemble_id
from recipes.core.replicas.peer import SharedPeer
from recipes.core.replicas.terms import stored_term, term_cell
from recipes.core.replicas.wire import Dialect
from recipes.core.replication import Recovered, ReplicaSettings


class RaftPeer(SharedPeer):
    """One server's part in the replication. now_ms: a clock that never goes back."""

    dialect: Dialect = RAFT_MESSAGES
    term: int
    leader: Leader | None
    follower: Follower | None
    _election: Election

    def __init__(self, settings: ReplicaSettings, found: Recovered, options: RaftOptions, now_ms: int) -> None:
        self.options = options
        self.vote: Vote = stored_vote(found.cells)
        self.late_terms: LateTerms = LateTerms(settings.tick_ms)
        super().__init__(settings, found, stored_term(found.cells), now_ms)
        if found.unsure and self.vote.candidate != ABSTAINS:
            # With its log it may have lost the term and the vote: it could vote a second time in a term.
            self.set_vote(ABSTAINS)
        self._election.rest()

    def _ensemble(self, membership: Membership) -> int:
        return ensemble_id(membership)

    @property
    def most_term(self) -> int:
        """The latest term of another server that is believed."""
        return MOST_TERM if self.options.guards_terms else super().most_term

    def _new_election(self) -> Election:
        return Election(self)

    def _new_follower(self, sid: int) -> Follower:
        return Follower(self, sid)

    @property
    def abstains(self) -> bool:
        """Whether this server may have forgotten a vote."""
        return self.vote.candidate == ABSTAINS

    def vote_again(self) -> None:
        """Vote from the next term on, and be counted in this one."""
        self.set_vote(self.settings.sid)  # as if it had voted for itself: so for nobody else
        if self.follower is not None:
            self.follower.flushed(self.flushed_zxid)

    def stand(self, above: int) -> None:
        """Begin a term of this server's own, the one behind `above`, and vote for itself."""
        invariant(above >= self.term, "a term never goes back")
        self.enter(above + 1)
        self.set_vote(self.settings.sid)

    def enter(self, term: int) -> None:
        """Enter a later term, and go on with what this server does."""
        self.term = term
        self._carry_out(term_cell(term))

    def follow_into(self, sid: int, term: int) -> None:
        """A server says that it leads a later term, which this one enters once it has reached that server."""
        if self.follower is None or self.follower.leader_sid != sid:
            self.look(f"server {sid} leads term {term}")
        self.follow(sid)

    def give_way(self, sid: int, term: int) -> None:
        """End this leadership in favour of a server that is in a later term: the next leader's is above that."""
        self.look(f"server {sid} is in term {term}, and can only join a later one")
        self._election.go_above(term)

    def set_vote(self, candidate: int) -> None:
        """Vote in this term."""
        self.vote = Vote(self.term, candidate)
        self._carry_out(vote_cell(self.vote))

    def vote_in(self, term: int) -> int:
        """The candidate that this server has voted for in `term`, NOBODY or ABSTAINS."""
        if self.vote.candidate == ABSTAINS:
            return ABSTAINS
        return self.vote.candidate if self.vote.term == term else NOBODY

    def lead(self) -> None:
        """A quorum has voted for this server."""
        self.leader = Leader(self)
        self.leader.begin()
