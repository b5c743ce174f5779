"""Repair of a transaction log that is damaged before its end: list the txns behind the damage, and cut there.

A standalone server refuses to start on such a log (recovery.py), since cutting drops txns that were acknowledged. The
repair destroys nothing: it keeps everything it cuts in the same directory, under names that no server reads.
"""

from dataclasses import dataclass

from recipes.core.disk.disk import Disk
from recipes.core.disk.snapshot import read_snapshot
from recipes.core.disk.snapshot_files import read_snapshot_file, snapshot_files
from recipes.core.disk.txnlog import Damage, LogFile, log_files, log_name, zxids_behind
from recipes.core.errors import DiskError
from recipes.core.jute.txns import payload_zxid
from recipes.core.tree.tree import DataTree
from recipes.core.zxid import epoch_of

SET_ASIDE = "damaged-"  # must not begin with snapshot. or log.: files are found by these prefixes


@dataclass(frozen=True, slots=True)
class Loss:
    """What is lost by cutting the log at its first damage.

    name, offset: file and place of the cut. reason: what is wrong there.
    last_zxid: the last one kept. lost: zxids of the txns behind the cut, as far as they can be read.
    logs: the log files behind the damaged one. snapshots: those that need txns behind the cut.
    """

    name: str
    offset: int
    reason: str
    last_zxid: int
    lost: tuple[int, ...]
    logs: tuple[str, ...]
    snapshots: tuple[str, ...]


def find_loss(snapshots: Disk, logs: Disk) -> Loss | None:
    """The first damage in the log with valid txns behind it, by recovery's rules; None when there is none.

    Raises DiskError if no snapshot goes with the txns that would be kept.
    """
    starts = [zxid for zxid, _ in log_files(logs)]
    found = _snapshots(snapshots)
    newest = next(iter(found), 0)
    first = max((index for index, zxid in enumerate(starts) if zxid <= newest + 1), default=0)
    last_zxid = 0
    for index, start in enumerate(starts[first:], first):
        name, data = log_name(start), logs.read(log_name(start))
        expected = max(last_zxid, newest) + 1
        if index > first and start > expected and epoch_of(start) == epoch_of(expected):
            damage = Damage(name, 0, last_zxid, f"txns 0x{expected:x} to 0x{start - 1:x} are missing before it", False)
        else:
            file = LogFile(name, data)
            for _ in file:
                last_zxid = max(last_zxid, file.last_zxid)
            at_end = file.damage
            follows = index + 1 < len(starts) and starts[index + 1] != max(last_zxid, start - 1) + 1
            if at_end is None or (at_end.torn and not follows):
                continue
            damage = at_end
        behind = tuple(log_name(later) for later in starts[index + 1 :])
        return _loss(damage, last_zxid, data, behind, found, snapshots, logs)
    return None


def _loss(
    damage: Damage,
    last_zxid: int,
    data: bytes,
    behind: tuple[str, ...],
    found: dict[int, int],
    snapshots: Disk,
    logs: Disk,
) -> Loss:
    lost = list(zxids_behind(data, damage.offset, last_zxid))
    for name in behind:
        lost += [payload_zxid(payload) for payload in LogFile(name, logs.read(name))]
    # A fuzzy snapshot needs the log up to the last txn that it shows. One that needs txns behind the cut is useless.
    useless = [zxid for zxid, end in found.items() if end > max(last_zxid, zxid)]
    kept = [zxid for zxid in found if zxid not in useless]
    if not kept:
        raise DiskError(f"{damage.name}: {damage.reason} at offset {damage.offset}, and no snapshot from before it")
    return Loss(
        damage.name,
        damage.offset,
        damage.reason,
        max(last_zxid, kept[0]),
        tuple(zxid for zxid in lost if zxid > kept[0]),
        behind,
        tuple(name for zxid, name in reversed(snapshot_files(snapshots)) if zxid in useless),
    )


def truncate(snapshots: Disk, logs: Disk, loss: Loss) -> list[str]:
    """Cut the log at the loss; return the names of the files set aside."""
    made = []
    data = logs.read(loss.name)
    aside = _free_name(logs, loss.name)
    copy = logs.create(aside)
    copy.write(0, data)
    copy.sync()
    copy.close()
    logs.sync()
    made.append(aside)
    for disk, names in ((snapshots, loss.snapshots), (logs, reversed(loss.logs))):
        for name in names:
            aside = _free_name(disk, name)
            disk.rename(name, aside)
            disk.sync()
            made.append(aside)
    if loss.offset == 0:
        logs.remove(loss.name)
    else:
        file = logs.open(loss.name)
        file.truncate(loss.offset)
        file.sync()
        file.close()
    logs.sync()
    return made


def _snapshots(disk: Disk) -> dict[int, int]:
    """For each whole snapshot, newest first: its zxid, and the last zxid whose effects it may already show."""
    found = {}
    for zxid, name in reversed(snapshot_files(disk)):
        try:
            digest = read_snapshot(name, read_snapshot_file(disk, name), DataTree())
        except DiskError:
            continue
        found[zxid] = max(zxid, digest[0]) if digest else zxid
    return found


def _free_name(disk: Disk, name: str) -> str:
    taken, wanted, number = set(disk.names()), SET_ASIDE + name, 1
    while wanted in taken:
        number += 1
        wanted = f"{SET_ASIDE}{name}-{number}"
    return wanted
