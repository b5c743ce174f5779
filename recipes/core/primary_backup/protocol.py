"""Primary-backup as one of the protocols that a simulated server can run."""

from functools import partial
from typing import Final

from recipes.core.primary_backup.fences import FIRST_VALUES, settle_fences
from recipes.core.primary_backup.peer import PrimaryBackupPeer
from recipes.core.primary_backup.wire import PRIMARY_BACKUP_MESSAGES
from recipes.core.replication import ReplicationProtocol

PRIMARY_BACKUP: Final = ReplicationProtocol(
    name=PRIMARY_BACKUP_MESSAGES.protocol,
    cells=FIRST_VALUES,
    settle=settle_fences,
    logged_counts=False,
    start=PrimaryBackupPeer,
)


def degrading(degrade_ms: int) -> ReplicationProtocol:
    """The same with a primary that drops a backup which has owed an entry for `degrade_ms`: it does not block then, and
    what it acknowledges is on fewer disks."""
    return PRIMARY_BACKUP._replace(start=partial(PrimaryBackupPeer, degrade_ms=degrade_ms))
