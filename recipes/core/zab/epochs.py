"""The two epochs that a member must not forget, each a decimal number in a cell.

acceptedEpoch is the last epoch that it has promised a leader to follow. currentEpoch is the last one whose history it
holds. Source: QuorumPeer.loadDataBase.
"""

from collections.abc import Mapping
from typing import Final

from recipes.core.errors import DiskError
from recipes.core.replication import Cell
from recipes.core.zxid import epoch_of

ACCEPTED_EPOCH: Final = "acceptedEpoch"
CURRENT_EPOCH: Final = "currentEpoch"


def epoch_cell(name: str, epoch: int) -> Cell:
    """The operation that stores an epoch."""
    return Cell(name, b"%d" % epoch)


def stored_epoch(cells: Mapping[str, bytes], name: str) -> int | None:
    """A stored epoch; None where there is none. Raises DiskError for a cell that holds no number."""
    line = cells.get(name, b"-1").partition(b"\n")[0].strip()
    if line == b"-1":  # an Apache member stores this that was started without data under db.autocreate=false
        return None
    if not line.isdigit():
        raise DiskError(f"{name}: expected an epoch, found {line[:20]!r}")
    return int(line)


def settle_epochs(cells: Mapping[str, bytes], unfinished: Mapping[str, bytes], last_zxid: int) -> dict[str, bytes]:
    """Reconcile both epochs with the log; return the cells as they must be.

    cells: as stored. unfinished: values whose storing a crash interrupted. last_zxid: of the log; -1 if not known.
    Raises DiskError if the accepted epoch is before the current one.
    """
    epoch = epoch_of(max(last_zxid, 0))
    accepted, current = stored_epoch(cells, ACCEPTED_EPOCH), stored_epoch(cells, CURRENT_EPOCH)
    if current is None:
        current = epoch
    elif epoch > current:
        # A server logs the history of an epoch before it stores the epoch; a crash came between the two. A server that
        # holds an entry of an epoch also holds the whole history that the epoch began with. Apache's server refuses to
        # start here, unless the temporary file holds the missing epoch.
        current = max(epoch, _unfinished(unfinished))
    if accepted is None:
        accepted = epoch
    if accepted < current:
        raise DiskError(f"{ACCEPTED_EPOCH} is {accepted}, which is before {CURRENT_EPOCH} {current}")
    settled = dict(cells)
    for name, value in ((ACCEPTED_EPOCH, accepted), (CURRENT_EPOCH, current)):
        if stored_epoch(cells, name) != value:
            settled[name] = b"%d" % value
    return settled


def _unfinished(unfinished: Mapping[str, bytes]) -> int:
    """The current epoch in a temporary file that a crash left before its rename, or 0 (ZOOKEEPER-1653)."""
    try:
        return stored_epoch(unfinished, CURRENT_EPOCH) or 0
    except DiskError:
        return 0
