"""The two epochs a member must not forget, each a decimal number in a file beside the snapshots.

acceptedEpoch is the last epoch it has promised a leader to follow, currentEpoch the last one whose history it holds.
Source: QuorumPeer.loadDataBase, AtomicFileOutputStream.
"""

from recipes.core.disk.disk import Disk
from recipes.core.errors import DiskError
from recipes.core.zxid import epoch_of

ACCEPTED = "acceptedEpoch"
CURRENT = "currentEpoch"
_UNFINISHED = ".tmp"


def write_epoch(disk: Disk, kind: str, epoch: int) -> None:
    """Store an epoch atomically: a crash leaves the old number or the new one."""
    file = disk.create(kind + _UNFINISHED)
    file.write(0, b"%d" % epoch)
    file.sync()
    file.close()
    disk.rename(kind + _UNFINISHED, kind)
    disk.sync()


def read_epoch(disk: Disk, kind: str) -> int | None:
    """A stored epoch; None where there is none. Raises DiskError for a file that holds no number."""
    if kind not in disk.names():
        return None
    line = disk.read(kind).partition(b"\n")[0].strip()
    if not line.isdigit():
        raise DiskError(f"{kind}: expected an epoch, found {line[:20]!r}")
    return int(line)


def settle_epochs(disk: Disk, last_zxid: int) -> tuple[int, int]:
    """Read both epochs, reconcile them with the log, store what has changed, and return accepted and current.

    last_zxid: of the log; -1 if it is not known. Raises DiskError if the accepted epoch is before the current one.
    """
    epoch = epoch_of(max(last_zxid, 0))
    stored = read_epoch(disk, ACCEPTED), read_epoch(disk, CURRENT)
    accepted, current = stored
    if current is None:
        current = epoch
    elif epoch > current:
        # A server logs the history of an epoch before it stores the epoch; a crash came between the two. A server that
        # holds an entry of an epoch also holds the whole history that the epoch began with. Apache's server refuses to
        # start here, unless the temporary file holds the missing epoch.
        current = max(epoch, _unfinished(disk))
    if accepted is None:
        accepted = epoch
    if accepted < current:
        raise DiskError(f"{ACCEPTED} is {accepted}, which is before {CURRENT} {current}")
    if stored[0] is None:
        write_epoch(disk, ACCEPTED, accepted)
    if stored[1] != current:
        write_epoch(disk, CURRENT, current)
    return accepted, current


def _unfinished(disk: Disk) -> int:
    """The current epoch in a temporary file that a crash left before its rename, or 0 (ZOOKEEPER-1653)."""
    try:
        return read_epoch(disk, CURRENT + _UNFINISHED) or 0
    except DiskError:
        return 0
