"""From the files of a data directory to a tree: the newest whole snapshot, and the log behind it.

Source: FileTxnSnapLog.restore, QuorumPeer.loadDataBase.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from recipes.core.disk.disk import Disk
from recipes.core.disk.epochs import ACCEPTED, CURRENT, read_epoch, settle_epochs
from recipes.core.disk.log_tail import LogTail, joins
from recipes.core.disk.replace import REJOIN, finish, is_clean, remove_superseded, snapshot_files
from recipes.core.disk.snapshot import is_whole, read_snapshot, snapshot_name, write_snapshot
from recipes.core.disk.txnlog import Damage, cut_torn, log_files, read_log
from recipes.core.errors import DiskError
from recipes.core.jute.txns import decode_txn, payload_zxid
from recipes.core.replication import Entry
from recipes.core.tree.tree import DataTree
from recipes.core.zxid import epoch_of

TEMPORARY = "incoming-snapshot"  # must begin neither with snapshot. nor with log., which are read by their names


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found. mismatches: zxids at which the tree's digest was not the one in the log.

    history, base_zxid: the last entries logged, oldest first and without a hole, and the zxid before the first; the
        last zxid where there are none. Only of a member.
    accepted_epoch, current_epoch: of a member, as stored; else the epoch of the last zxid.
    unsure: why a member's history may lack what it once acknowledged; empty where it is sound. Until a leader's
        snapshot has replaced it, such a member must neither vote nor lead, and last_zxid counts for nothing.
    """

    snapshot_zxid: int
    last_zxid: int
    txns: int
    mismatches: tuple[int, ...]
    history: list[Entry] = field(default_factory=list)
    base_zxid: int = 0
    accepted_epoch: int = 0
    current_epoch: int = 0
    unsure: str = ""


@dataclass(slots=True)
class _Replay:
    snapshot_zxid: int = -1
    txns: int = 0
    mismatches: list[int] = field(default_factory=list)
    torn: list[Damage] = field(default_factory=list)
    tail: LogTail | None = None


def recover(snapshots: Disk, logs: Disk, tree: DataTree) -> Recovered:
    """Fill the tree of a server alone. An empty directory gives an empty tree, and a first snapshot of it.

    Raises DiskError where no whole snapshot goes with the log, the log is damaged before its end, or the directory is
    a member's that has given its history up.
    """
    finish(snapshots, logs)
    if REJOIN in snapshots.names():
        raise DiskError(
            f"the data of this server waits to be replaced by its leader's; remove {REJOIN} to serve it alone"
        )
    replay = _Replay()
    load(snapshots, logs, tree, replay)
    _make_durable(snapshots, logs)
    epoch = epoch_of(tree.last_zxid)
    return Recovered(
        replay.snapshot_zxid, tree.last_zxid, replay.txns, tuple(replay.mismatches), [], tree.last_zxid, epoch, epoch
    )


def recover_member(snapshots: Disk, logs: Disk, tree: DataTree) -> Recovered:
    """Fill the tree of a member of an ensemble, once what a crash interrupted has been carried out.

    Damage for which a server alone refuses to start leaves it unsure, with what is whole before it. Raises DiskError
    where the stored epochs cannot be right.
    """
    finish(snapshots, logs)
    names = snapshots.names()
    if TEMPORARY in names:
        snapshots.remove(TEMPORARY)
    replay, unsure = _Replay(), ""
    if REJOIN in names:
        unsure = "its history was given up"
        tree.clear()
        tree.last_zxid = -1
    else:
        try:
            load(snapshots, logs, tree, replay, member=True)
        except DiskError as error:
            unsure = str(error)
    if replay.mismatches and not unsure:
        # A txn that has another effect than its leader said: what came before it is not all there, for one because
        # 3.8.0 leaves out of its log what it has voted with (ZOOKEEPER-4712). A hole at an epoch's end shows only so.
        unsure = f"the tree is not what txn 0x{replay.mismatches[0]:x} made of it: txns before it are missing or wrong"
    _make_durable(snapshots, logs)
    accepted, current = settle_epochs(snapshots, tree.last_zxid)
    history: list[Entry] = []
    base_zxid = tree.last_zxid
    if not unsure:
        for damage in replay.torn:
            cut_torn(logs, damage)
        if replay.tail is not None:
            history, base_zxid = replay.tail.finish(logs, (zxid for zxid, _ in snapshot_files(snapshots)))
    return Recovered(
        replay.snapshot_zxid,
        tree.last_zxid,
        replay.txns,
        tuple(replay.mismatches),
        history,
        base_zxid,
        accepted,
        current,
        unsure,
    )


def load_until(snapshots: Disk, logs: Disk, zxid: int) -> DataTree | None:
    """The tree as it was at `zxid`; None where snapshots and log do not give it."""
    tree = DataTree()
    try:
        load(snapshots, logs, tree, _Replay(), until=zxid)
    except DiskError:
        return None
    return tree if tree.last_zxid == zxid else None


def load(
    snapshots: Disk, logs: Disk, tree: DataTree, replay: _Replay, member: bool = False, until: int | None = None
) -> None:
    """Read the newest usable snapshot and what is logged behind it, up to `until`; at a DiskError the tree has what
    is before the damage.
    """
    found = snapshot_files(snapshots)
    digest, reasons = None, []
    for zxid, name in reversed(found):
        data = snapshots.read(name)
        if not is_whole(data):
            reasons.append(f"{name}: not whole")
            continue
        if until is not None and not is_clean(zxid, data, until):
            continue
        try:
            digest = read_snapshot(name, data, tree)
        except DiskError as error:
            reasons.append(str(error))
            continue
        replay.snapshot_zxid = tree.last_zxid = zxid
        break
    else:
        tree.clear()
        if found or log_files(logs) or (member and _has_epochs(snapshots)):
            tree.last_zxid = -1
            raise DiskError(_no_snapshot(found, reasons))
        save_snapshot(snapshots, 0, write_snapshot(tree))
        replay.snapshot_zxid = 0
    if member:
        replay.tail = LogTail(replay.snapshot_zxid)
    _replay_log(logs, tree, replay, digest, [zxid for zxid, _ in found], until)
    if until is None and reasons and tree.last_zxid < found[-1][0]:
        # What a snapshot was taken of was logged before it: the log that would go with the older one is not this one.
        raise DiskError(f"the log ends at 0x{tree.last_zxid:x}, before the damaged snapshot; {'; '.join(reasons)}")


def _replay_log(
    logs: Disk,
    tree: DataTree,
    replay: _Replay,
    digest: tuple[int, int] | None,
    snapshot_zxids: list[int],
    until: int | None,
) -> None:
    # Over a fuzzy snapshot the digest means something only once the replay is past what the snapshot may hold. Where
    # that is not told, one that agrees shows it.
    compare_from = digest[0] if digest else replay.snapshot_zxid
    comparing = digest is not None or replay.snapshot_zxid == 0
    tail = replay.tail
    newer = [zxid for zxid in snapshot_zxids if zxid > replay.snapshot_zxid]
    for payload in read_log(logs, replay.snapshot_zxid, replay.torn, snapshot_zxids):
        zxid = payload_zxid(payload)
        if until is not None and zxid > until:
            break
        if newer and not joins(tree.last_zxid, zxid, newer):
            raise DiskError(f"a snapshot that cannot be used stands between 0x{tree.last_zxid:x} and 0x{zxid:x}")
        txn, expected = decode_txn(payload)
        tree.apply(txn)
        replay.txns += 1
        if tail is not None:
            tail.add(payload)
        if expected is not None and zxid > compare_from:
            if expected == tree.digest:
                comparing = True
            elif comparing:
                replay.mismatches.append(zxid)
    tree.fired.clear()


def _make_durable(snapshots: Disk, logs: Disk) -> None:
    """What a killed process wrote without syncing it has just been read: it must not vanish with the power later."""
    files = log_files(logs)
    if files:
        file = logs.open(files[-1][1])
        file.sync()
        file.close()
    logs.sync()
    if snapshots is not logs:
        snapshots.sync()


def _has_epochs(snapshots: Disk) -> bool:
    """Whether this server has been part of an epoch, so that a directory without data has lost some."""
    return any(read_epoch(snapshots, kind) for kind in (ACCEPTED, CURRENT))


def _no_snapshot(found: list[tuple[int, str]], reasons: list[str]) -> str:
    if found:
        return f"no snapshot can be read: {'; '.join(reasons)}"
    return "there is no snapshot that the transaction log or the stored epochs could follow"


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
    for zxid, name in reversed(snapshot_files(snapshots)):
        if len(kept) < retain and is_whole(snapshots.read(name)):
            kept.append(zxid)
    if not kept:
        return []
    oldest = kept[-1]
    removed = remove_superseded(snapshots) + remove_superseded(logs)
    for zxid, name in snapshot_files(snapshots):
        if zxid < oldest:
            snapshots.remove(name)
            removed.append(name)
    starts = [zxid for zxid, _ in log_files(logs)]
    needed = max((zxid for zxid in starts if zxid <= oldest + 1), default=0)
    for zxid in starts:
        if zxid < needed:
            logs.remove(f"log.{zxid:x}")
            removed.append(f"log.{zxid:x}")
    return removed
