"""A server of an ensemble that runs Multi-Paxos, as a Replica: what it has promised, and what it has accepted.

A promise is on disk before it is told, and so is what was accepted. A server's own ballot is its own promise: so it is
not used again after a restart.
"""

from recipes.core.errors import invariant
from recipes.core.paxos.election import Election
from recipes.core.paxos.follower import Follower
from recipes.core.paxos.leader import Leader
from recipes.core.paxos.numbers import FORGOTTEN, MOST_SID, accepted_cell, next_ballot, stored_accepted
from recipes.core.paxos.wire import PAXOS_MESSAGES
from recipes.core.replicas.peer import SharedPeer
from recipes.core.replicas.terms import stored_term, term_cell
from recipes.core.replicas.wire import Dialect
from recipes.core.replication import Recovered, ReplicaSettings


class PaxosPeer(SharedPeer):
    """One server's part in the replication. now_ms: a clock that never goes back.

    accepted: the ballot in which it has accepted its log, or FORGOTTEN. accepted_on_disk: as its disk has it.
    """

    dialect: Dialect = PAXOS_MESSAGES
    term: int
    leader: Leader | None
    follower: Follower | None

    def __init__(self, settings: ReplicaSettings, found: Recovered, now_ms: int) -> None:
        highest = max(settings.membership.servers)
        invariant(highest <= MOST_SID, f"multi-paxos needs ids up to {MOST_SID}, found {highest}")
        self.accepted: int = stored_accepted(found.cells)
        self.accepted_on_disk: int = self.accepted
        super().__init__(settings, found, stored_term(found.cells), now_ms)
        if found.unsure and not self.abstains:
            # With its log it may have lost a promise: it could accept below it.
            self._store_accepted(FORGOTTEN)
        self._election.rest()

    def _new_election(self) -> Election:
        return Election(self)

    def _new_follower(self, sid: int) -> Follower:
        return Follower(self, sid)

    @property
    def abstains(self) -> bool:
        """Whether this server may have forgotten a promise."""
        return self.accepted == FORGOTTEN

    def vote_again(self) -> None:
        """No promise that is forgotten is of a higher ballot than the one it knows of now."""
        self._store_accepted(0)
        if self.follower is not None:
            self.follower.votes_again()

    def accept_log(self) -> None:
        """Accept the whole log in the ballot of now, behind all that is being written."""
        self._store_accepted(self.term)

    def _store_accepted(self, ballot: int) -> None:
        self.accepted = ballot
        self._carry_out(accepted_cell(ballot))
        self.when_durable(lambda: self._has_accepted(ballot))

    def _has_accepted(self, ballot: int) -> None:
        self.accepted_on_disk = ballot
        phase = self._phase
        if phase is not None:
            phase.flushed(self.flushed_zxid)

    def stand(self) -> None:
        """Begin a ballot of this server's own, once it is on disk."""
        self.term = next_ballot(self.term, self.settings.sid)
        self._carry_out(term_cell(self.term))
        self.leader = Leader(self, self._election.patience_ms())
        self.when_durable(self.leader.begin)

    def follow(self, sid: int) -> None:
        """A server leads this ballot, or prepares it."""
        if self.follower is None and not self.is_drained:
            self._carry_out(term_cell(self.term))  # the promise is told behind all that is being written
        super().follow(sid)
