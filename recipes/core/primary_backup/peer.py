"""A server of an ensemble that runs primary-backup, as a Replica: its fence, and the set that it waits for."""

from dataclasses import replace

from recipes.core.errors import invariant
from recipes.core.primary_backup.backup import Backup
from recipes.core.primary_backup.fences import MOST_SID, next_start, owner_of, promoted, set_cell, stored_set
from recipes.core.primary_backup.primary import Primary
from recipes.core.primary_backup.succession import Succession
from recipes.core.primary_backup.wire import PRIMARY_BACKUP_MESSAGES
from recipes.core.replicas.peer import SharedPeer
from recipes.core.replicas.terms import stored_term, term_cell
from recipes.core.replicas.wire import Dialect
from recipes.core.replication import Recovered, ReplicaSettings, Truncate


class PrimaryBackupPeer(SharedPeer):
    """One server's part in the replication. now_ms: a clock that never goes back.

    backups: the servers that must have each write while this one is the primary.
    degrade_ms: how long it waits for one of them before it drops it; None: for ever.
    """

    dialect: Dialect = PRIMARY_BACKUP_MESSAGES
    term: int
    backups: tuple[int, ...]
    leader: Primary | None
    follower: Backup | None

    def __init__(self, settings: ReplicaSettings, found: Recovered, now_ms: int, degrade_ms: int | None = None) -> None:
        self.degrade_ms: int | None = degrade_ms
        voters = settings.membership.voters
        highest = max(settings.membership.servers)
        invariant(highest <= MOST_SID, f"primary-backup needs ids up to {MOST_SID}, found {highest}")
        self._unfenced, self.backups = stored_set(found.cells, [sid for sid in voters if sid != settings.sid])
        self._first = voters[0]
        torn = bool(found.unsure) and found.may_cut and self._is_primary_in(settings.sid, stored_term(found.cells))
        super().__init__(settings, replace(found, unsure="") if torn else found, stored_term(found.cells), now_ms)
        if torn:
            # No backup can have what stands behind: it is copied only once it is durable here.
            self._carry_out(Truncate(self.history.last_zxid))
            self._replacing += 1
        self._election.rest()

    def _new_election(self) -> Succession:
        return Succession(self)

    def _new_follower(self, sid: int) -> Backup:
        return Backup(self, sid)

    def _is_primary_in(self, sid: int, fence: int) -> bool:
        return self._unfenced or sid == (owner_of(fence) or self._first)

    @property
    def is_primary(self) -> bool:
        """Whether this server is to be the primary, as far as it knows."""
        return self._is_primary_in(self.settings.sid, self.term)

    def adopt(self, term: int, why: str) -> None:
        """A newer primary is about: this server is none any more."""
        self._unfenced = False
        super().adopt(term, why)

    def stand(self) -> None:
        """Be the primary, with a fence for this start, once that is on disk."""
        if not self._unfenced:
            self.term = next_start(self.term, self.settings.sid)
            self._carry_out(term_cell(self.term))
        self.leader = Primary(self)
        self.when_durable(self.leader.begin)

    def drop(self, sids: list[int]) -> None:
        """Wait no more for these backups, once that is on disk; only an operator brings them back into the set."""
        self.backups = tuple(sid for sid in self.backups if sid not in sids)
        self.note(f"{', '.join(f'server {sid}' for sid in sids)} owed entries for {self.degrade_ms} ms: dropped")
        self._carry_out(set_cell(self._unfenced, self.backups))
        if self.leader is not None:
            self.when_durable(self.leader.dropped)

    def promote(self, fenced: bool) -> None:
        """An operator makes this server the primary, in place of the one that is.

        fenced: with a newer fence, which the other backups store before this server serves: from then on the old
        primary can acknowledge nothing, and learns why. If not, there are two primaries with the same fence.
        """
        former = owner_of(self.term) or self._first
        self.look("an operator promotes this server")
        self.backups = tuple(sid for sid in self.backups if sid != former)
        self._unfenced = not fenced
        if fenced:
            self.term = promoted(self.term, self.settings.sid)
            self._carry_out(term_cell(self.term))
        self._carry_out(set_cell(self._unfenced, self.backups))
        self._election.rest()
