"""From the files of a data directory to a tree: the newest whole snapshot, and the log behind it.

Source: FileTxnSnapLog.restore.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from recipes.core.disk.disk import Disk
from recipes.core.disk.snapshot import is_whole, read_snapshot, snapshot_name, write_snapshot
from recipes.core.disk.txnlog import file_zxid, read_log
from recipes.core.errors import DiskError
from recipes.core.jute.txns import decode_txn
from recipes.core.tree.tree import DataTree

TEMPORARY = "incoming-snapshot"  # must begin neither with snapshot. nor with log., which are read by their names


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found. mismatches: zxids at which the tree's digest was not the one in the log."""

    snapshot_zxid: int
    last_zxid: int
    txns: int
    mismatches: tuple[int, ...]


def recover(snapshots: Disk, logs: Disk, tree: DataTree) -> Recovered:
    """Fill the tree. An empty directory gives an empty tree, and a first snapshot of it.

    Raises DiskError where no whole snapshot goes with the log, or the log is damaged before its end.
    """
    found = sorted(
        ((zxid, name) for name in snapshots.names() if (zxid := file_zxid(name, "snapshot")) is not None), reverse=True
    )
    start: tuple[int, tuple[int, int] | None] | None = None
    reasons = []
    for zxid, name in found:
        data = snapshots.read(name)
        if not is_whole(data):
            reasons.append(f"{name}: not whole")
            continue
        try:
            start = zxid, read_snapshot(name, data, tree)
            break
        except DiskError as error:
            reasons.append(str(error))
    if start is None:
        if found:
            raise DiskError(f"no snapshot can be read: {'; '.join(reasons)}")
        if any(file_zxid(name, "log") is not None for name in logs.names()):
            raise DiskError("there is a transaction log but no snapshot it could follow")
        tree.clear()
        save_snapshot(snapshots, 0, write_snapshot(tree))
        return Recovered(0, 0, 0, ())
    snapshot_zxid, digest = start
    tree.last_zxid = snapshot_zxid
    # Over a fuzzy snapshot the digest means something only once the replay is past what the snapshot may hold.
    compare_from = digest[0] if digest else snapshot_zxid
    txns, mismatches = 0, []
    for payload in read_log(logs, snapshot_zxid):
        txn, expected = decode_txn(payload)
        tree.apply(txn)
        txns += 1
        if expected is not None and txn[2] > compare_from and expected != tree.digest:
            mismatches.append(txn[2])
    tree.fired.clear()
    return Recovered(snapshot_zxid, tree.last_zxid, txns, tuple(mismatches))


def save_snapshot(disk: Disk, zxid: int, chunks: Iterable[bytes]) -> None:
    """Write a snapshot so that it is there whole or not at all."""
    file = disk.create(TEMPORARY)
    at = 0
    for chunk in chunks:
        file.write(at, chunk)
        at += len(chunk)
    file.sync()
    file.close()
    disk.rename(TEMPORARY, snapshot_name(zxid))
    disk.sync()


def purge(snapshots: Disk, logs: Disk, retain: int) -> list[str]:
    """Remove all but the newest `retain` whole snapshots, and the logs that none of those needs; return the names."""
    kept: list[int] = []
    for zxid, _ in sorted(
        ((zxid, name) for name in snapshots.names() if (zxid := file_zxid(name, "snapshot")) is not None), reverse=True
    ):
        if len(kept) < retain and is_whole(snapshots.read(snapshot_name(zxid))):
            kept.append(zxid)
    if not kept:
        return []
    oldest = kept[-1]
    removed = []
    for name in snapshots.names():
        zxid = file_zxid(name, "snapshot")
        if zxid is not None and zxid < oldest:
            snapshots.remove(name)
            removed.append(name)
    starts = sorted(zxid for name in logs.names() if (zxid := file_zxid(name, "log")) is not None)
    needed = max((zxid for zxid in starts if zxid <= oldest + 1), default=0)
    for zxid in starts:
        if zxid < needed:
            logs.remove(f"log.{zxid:x}")
            removed.append(f"log.{zxid:x}")
    return removed
