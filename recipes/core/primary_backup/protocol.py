"""Primary-backup as one of the protocols that a simulated server can run."""

from functools import partial
from typing import Final

from recipes.core.copies.fences import FIRST_VALUES, settle_fences
from recipes.core.copies.peer import CopiesPeer
from recipes.core.replication import ReplicationProtocol

COPIES: Final = ReplicationProtocol(
    name="primary-backup",
    cells=FIRST_VALUES,
    settle=settle_fences,
    logged_counts=False,
    start=CopiesPeer,
)


def degrading(degrade_ms: int) -> ReplicationProtocol:
    """The same with a primary that drops a backup which has owed an entry for `degrade_ms`: it does not block then, and
    what it acknowledges is on fewer disks."""
    return COPIES._replace(start=partial(CopiesPeer, degrade_ms=degrade_ms))
