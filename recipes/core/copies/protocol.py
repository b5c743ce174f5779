"""Primary-backup as one of the protocols that a simulated server can run."""

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
