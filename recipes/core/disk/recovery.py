"""Builds the tree from the files of a data directory: the newest whole snapshot, and the log behind it.

Source: FileTxnSnapLog.restore, QuorumPeer.loadDataBase.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from recipes.core.disk.cells import read_cells, read_unfinished, write_cell
from recipes.core.disk.disk import Disk
from recipes.core.disk.log_tail import LogTail, joins
from recipes.core.disk.replace import REJOIN, finish, is_clean, remove_superseded
from recipes.core.disk.snapshot import is_whole, read_snapshot, snapshot_name, write_snapshot
from recipes.core.disk.snapshot_files import check_library, read_snapshot_file, snapshot_files
from recipes.core.disk.txnlog import Damage, cut_torn, log_files, read_log
from recipes.core.errors import DiskError, WireError
from recipes.core.jute.txns import decode_txn, payload_zxid
from recipes.core.replication import Entry, Recovered, ReplicationProtocol
from recipes.core.tree.tree import DataTree

TEMPORARY = "incoming-snapshot"  # must not begin with snapshot. or log.: files are found by these prefixes


@dataclass(frozen=True, slots=True)
class Trust:
    """What may be missing.

    empty_database: a member without any file begins with an empty tree (db.autocreate, or the file initialize).
    missing_snapshot: a log without a snapshot begins with an empty tree (snapshot.trust.empty).
    """

    empty_database: bool = True
    missing_snapshot: bool = False


_USUAL = Trust()


@dataclass(slots=True)
class _Replay:
    snapshot_zxid: int = -1
    last_zxid: int = -1
    txns: int = 0
    size_bytes: int = 0  # of all txns behind the snapshot
    unapplied: list[bytes] | None = None  # the payloads behind the snapshot, where the tree must not have them
    mismatches: list[int] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)  # torn ends; last, the damage that ended the replay
    tail: LogTail | None = None


def recover(snapshots: Disk, logs: Disk, tree: DataTree, trust: Trust = _USUAL) -> Recovered:
    """Fill the tree of a standalone server. An empty directory gives an empty tree, and a first snapshot of it.

    Raises DiskError if no whole snapshot goes with the log, if the log is damaged before its end, or if the directory
    belongs to a member that has given up its history.
    """
    finish(snapshots, logs)
    check_library(snapshots)
    if REJOIN in snapshots.names():
        raise DiskError(
            f"the file {REJOIN} says that a leader replaces the data of this server; remove it to serve the data alone"
        )
    replay = _Replay()
    load(snapshots, logs, tree, replay, trust=trust)
    _make_durable(snapshots, logs)
    last_zxid = tree.last_zxid
    found = Recovered(
        replay.snapshot_zxid, last_zxid, replay.txns, tuple(replay.mismatches), [], last_zxid, applied_zxid=last_zxid,
        replayed_bytes=replay.size_bytes,
    )  # fmt: skip
    damage = _last_damage(logs, replay)
    return replace(found, rotten_end=str(damage)) if damage is not None and damage.rotten else found


def recover_member(
    snapshots: Disk, logs: Disk, tree: DataTree, protocol: ReplicationProtocol, trust: Trust = _USUAL
) -> Recovered:
    """First finish a change of files that a crash interrupted, then fill the tree of a member of an ensemble.

    protocol: settles the cells, and says whether the tree gets the txns in the log too.

    Damage for which a standalone server refuses to start makes a member unsure; its tree has the whole txns before the
    damage. A rotten last record does the same. It stays in the file, so that the next start finds it again. Raises
    DiskError if the stored cells cannot be right.
    """
    finish(snapshots, logs)
    check_library(snapshots)
    names = snapshots.names()
    if TEMPORARY in names:
        snapshots.remove(TEMPORARY)
    replay, unsure = _Replay(unapplied=None if protocol.logged_counts else []), ""
    if REJOIN in names:
        unsure = "its data were given up for a leader's snapshot"
        tree.clear()
        tree.last_zxid = -1
    else:
        try:
            load(snapshots, logs, tree, replay, protocol, trust=trust)
        except DiskError as error:
            unsure = str(error)
    damage = _last_damage(logs, replay)
    rotten = str(damage) if damage is not None and damage.rotten and not unsure else ""
    # What a power cut can leave: a record that was never written to its end; or the last one, as far as one can tell.
    may_cut = bool(rotten) or (damage is not None and damage.unwritten and not damage.torn)
    unsure = unsure or rotten
    if replay.mismatches:
        may_cut = False
    if replay.mismatches and not unsure:
        # A txn had another effect here than at its leader, so some earlier txn is missing or wrong. For example, 3.8.0
        # can leave out of its log entries that its vote had counted (ZOOKEEPER-4712). Only the digest shows a hole at
        # the end of an epoch.
        unsure = (
            f"the tree differs from the digest of txn 0x{replay.mismatches[0]:x}: earlier txns are missing or wrong"
        )
    _make_durable(snapshots, logs)
    cells = _settled(snapshots, protocol, replay.last_zxid)
    history: list[Entry] = []
    base_zxid = replay.last_zxid
    if not unsure:
        for torn in replay.damages:
            cut_torn(logs, torn)
    if not unsure or may_cut:
        if replay.unapplied is not None:
            base_zxid = replay.snapshot_zxid
            history = [Entry(payload_zxid(payload), payload) for payload in replay.unapplied]
        elif replay.tail is not None:
            history, base_zxid = replay.tail.finish(logs, (zxid for zxid, _ in snapshot_files(snapshots)))
    return Recovered(
        replay.snapshot_zxid,
        replay.last_zxid,
        replay.txns,
        tuple(replay.mismatches),
        history,
        base_zxid,
        cells,
        unsure,
        tree.last_zxid,
        may_cut,
        rotten,
        replay.size_bytes,
    )


def _last_damage(logs: Disk, replay: _Replay) -> Damage | None:
    """The damage at which the replay ended, if it is in the last file of the log."""
    files = log_files(logs)
    return replay.damages[-1] if replay.damages and replay.damages[-1].name == files[-1][1] else None


def _settled(snapshots: Disk, protocol: ReplicationProtocol, last_zxid: int) -> Mapping[str, bytes]:
    """The cells as the protocol wants them with this log; those that it has changed are stored."""
    stored = read_cells(snapshots, protocol.cells)
    settled = protocol.settle(stored, read_unfinished(snapshots, protocol.cells), last_zxid)
    for name in protocol.cells:
        if name in settled and settled[name] != stored.get(name):
            write_cell(snapshots, name, settled[name])
    return settled


def load_until(snapshots: Disk, logs: Disk, zxid: int) -> DataTree | None:
    """The tree as it was at `zxid`; None if snapshots and log do not give it."""
    tree = DataTree()
    with suppress(DiskError):  # the tree then has the txns before the damage, which may be all that are wanted
        load(snapshots, logs, tree, _Replay(), until=zxid)
    return tree if tree.last_zxid == zxid else None


def load(
    snapshots: Disk,
    logs: Disk,
    tree: DataTree,
    replay: _Replay,
    protocol: ReplicationProtocol | None = None,
    until: int | None = None,
    trust: Trust = _USUAL,
) -> None:
    """Read the newest usable snapshot and the log behind it, up to `until`. protocol: of a member.

    At a DiskError the tree has the txns before the damage.
    """
    found = snapshot_files(snapshots)
    digest, reasons = None, []
    for zxid, name in reversed(found):
        try:
            data = read_snapshot_file(snapshots, name)
            if not is_whole(data):
                reasons.append(f"{name}: not whole")
                continue
            if until is not None and not is_clean(zxid, data, until):
                continue
            digest = read_snapshot(name, data, tree)
        except DiskError as error:
            reasons.append(str(error))
            continue
        replay.snapshot_zxid = replay.last_zxid = tree.last_zxid = zxid
        break
    else:
        tree.clear()
        if why := _why_not_empty(snapshots, logs, trust, protocol, reasons):
            tree.last_zxid = -1
            raise DiskError(why)
        save_snapshot(snapshots, 0, write_snapshot(tree))
        replay.snapshot_zxid = replay.last_zxid = 0
    if protocol is not None:
        replay.tail = LogTail(replay.snapshot_zxid)
    _replay_log(logs, tree, replay, digest, [zxid for zxid, _ in found], until)
    if until is None and reasons and replay.last_zxid < found[-1][0]:
        # Txns are logged before a snapshot shows them. A log that ends before the damaged snapshot has lost some.
        raise DiskError(f"the log ends at 0x{replay.last_zxid:x}, before the damaged snapshot; {'; '.join(reasons)}")


def _replay_log(
    logs: Disk,
    tree: DataTree,
    replay: _Replay,
    digest: tuple[int, int] | None,
    snapshot_zxids: list[int],
    until: int | None,
) -> None:
    # A fuzzy snapshot may hold later txns: digests mean something only once the replay is past those. If the snapshot
    # does not tell that zxid, comparing begins at the first digest that matches.
    compare_from = digest[0] if digest else replay.snapshot_zxid
    comparing = digest is not None or replay.snapshot_zxid == 0
    tail = replay.tail
    newer = [zxid for zxid in snapshot_zxids if zxid > replay.snapshot_zxid]
    for payload in read_log(logs, replay.snapshot_zxid, replay.damages, snapshot_zxids):
        zxid = payload_zxid(payload)
        if until is not None and zxid > until:
            break
        if newer and not joins(replay.last_zxid, zxid, newer):
            raise DiskError(f"a snapshot that cannot be used stands between 0x{replay.last_zxid:x} and 0x{zxid:x}")
        replay.size_bytes += len(payload)
        if replay.unapplied is not None:
            replay.unapplied.append(payload)
            replay.last_zxid = zxid
            continue
        try:
            txn, expected = decode_txn(payload)
        except WireError as error:
            name = [name for first, name in log_files(logs) if first <= zxid][-1]
            raise DiskError(f"{name}: txn 0x{zxid:x}: {error}: was it written by a later version?") from None
        tree.apply(txn)
        replay.last_zxid = tree.last_zxid
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
    """Sync what was just read: a killed process may have left it unsynced, and a power cut must not take it later."""
    files = log_files(logs)
    if files:
        file = logs.open(files[-1][1])
        file.sync()
        file.close()
    logs.sync()
    if snapshots is not logs:
        snapshots.sync()


def _took_part(snapshots: Disk, protocol: ReplicationProtocol) -> bool:
    """Whether this server has taken part in an ensemble: a directory without snapshots and logs then has lost them."""
    return any(value not in protocol.cells[name] for name, value in read_cells(snapshots, protocol.cells).items())


def _why_not_empty(
    snapshots: Disk, logs: Disk, trust: Trust, protocol: ReplicationProtocol | None, reasons: list[str]
) -> str:
    """Why a directory without a snapshot that can be read must not begin with an empty tree; "" if it may.

    reasons: why each snapshot cannot be read.
    """
    if reasons:
        return f"no snapshot can be read: {'; '.join(reasons)}"
    if log_files(logs):
        if trust.missing_snapshot:
            return ""
        return (
            "there is no snapshot that the transaction log could follow; if this server never wrote one, as ZooKeeper "
            "before 3.5, start it once with snapshot.trust.empty=true"
        )
    if protocol is not None and _took_part(snapshots, protocol):
        return "there is no snapshot that the stored epochs could follow"
    if protocol is not None and not trust.empty_database:
        return "there is no data, and db.autocreate=false: a file `initialize` in dataDir would let it begin empty"
    return ""


def save_snapshot(disk: Disk, zxid: int, chunks: Iterable[bytes]) -> None:
    """Write a snapshot durably and atomically: after a crash the whole file exists, or none."""
    file = disk.create(TEMPORARY)
    at = 0
    for chunk in chunks:
        file.write(at, chunk)
        at += len(chunk)
    file.sync()
    file.close()
    disk.rename(TEMPORARY, snapshot_name(zxid))
    disk.sync()


def _is_whole_file(snapshots: Disk, name: str) -> bool:
    try:
        return is_whole(read_snapshot_file(snapshots, name))
    except DiskError:
        return False


def purge(snapshots: Disk, logs: Disk, retain: int) -> list[str]:
    """Remove the files that the newest `retain` whole snapshots do not need; return the names."""
    kept: list[int] = []
    for zxid, name in reversed(snapshot_files(snapshots)):
        if len(kept) < retain and _is_whole_file(snapshots, name):
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
