"""Bugs in primary-backup."""

from functools import partial

from recipes.core.primary_backup.backup import Backup
from recipes.core.primary_backup.primary import All, Primary
from tests.simulation.planted.bug import PLANTED_IN_PRIMARY_BACKUP, Patch
from tests.simulation.planted.bug import planted as planted_somewhere

planted = partial(planted_somewhere, where=PLANTED_IN_PRIMARY_BACKUP)


@planted(1, "B1")
def replies_at_the_first_copy(patch: Patch) -> None:
    def held(self: Primary) -> int:
        copied = [progress.durable_zxid for progress in self._by_sid.values() if progress.counts]
        return min(self._peer.flushed_zxid, max(copied, default=-1))

    patch.setattr(Primary, "_held", held)


@planted(1, "B1")
def copied_before_it_is_on_disk(patch: Patch) -> None:
    patch.setattr(Backup, "_durable", lambda self: self._matched_zxid)


@planted(1, "B2", kinds=("power cut", "power cut of all", "slow disk"))
def copies_before_its_own_disk(patch: Patch) -> None:
    patch.setattr(Primary, "_last_to_send", lambda self: self._peer.history.last_zxid)


@planted(1, "B1")
def forgets_a_backup_that_is_down(patch: Patch) -> None:
    def held(self: Primary) -> int:
        copied = [progress.durable_zxid for progress in self._by_sid.values() if progress.counts]
        return min([self._peer.flushed_zxid, *copied]) if copied else -1

    patch.setattr(Primary, "_held", held)
    patch.setattr(All, "is_quorum", lambda self, sids: True)
