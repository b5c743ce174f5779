"""From files to a tree: Apache's files, fallback, purge, and power cuts with snapshots under way."""

from collections.abc import Callable, Iterator
from random import Random

import pytest

from recipes.core.disk.disk import Disk
from recipes.core.disk.recovery import TEMPORARY, purge, recover, save_snapshot
from recipes.core.disk.snapshot import write_snapshot
from recipes.core.disk.txnlog import HEADER, TxnLog, encode_records
from recipes.core.errors import DiskError
from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import decode_txn, encode_digest, encode_txn
from recipes.core.replication import Entry
from recipes.core.sim.disk import PowerCut, SimDisk
from recipes.core.tree.tree import DataTree
from tests.seeds import seeds

MakeEntry = Callable[..., Entry]
Put = Callable[[Disk, str, bytes], None]


def kept(disk: Disk) -> list[str]:
    return [name for name in disk.names() if not name.startswith(".")]


def apply(tree: DataTree, entry: Entry) -> None:
    tree.apply(decode_txn(entry.payload)[0])


def test_an_empty_directory_gets_a_first_snapshot(disk: Disk):
    tree = DataTree()
    found = recover(disk, disk, tree)
    assert (found.last_zxid, found.txns) == (0, 0)
    assert kept(disk) == ["snapshot.0"]
    assert tree.digest == 0x51C6D660
    assert recover(disk, disk, DataTree()) == found


def test_apaches_log_gives_apaches_digests(disk: Disk, apache_log: bytes, put: Put):
    save_snapshot(disk, 0x1_00000000, write_snapshot(DataTree()))
    put(disk, "log.100000001", apache_log)
    tree = DataTree()
    found = recover(disk, disk, tree)
    assert (found.snapshot_zxid, found.last_zxid, found.txns) == (0x1_00000000, 0x1_0000000B, 11)
    assert found.mismatches == ()
    assert tree.digest == 0x2270F55E5
    assert tree.find(b"/a").data == b"z1"
    assert b"/fromobs" not in dict(tree.items())
    assert tree.fired == []


def test_a_digest_that_does_not_match_is_reported(disk: Disk, put: Put):
    recover(disk, disk, DataTree())
    payload = encode_txn(1, 1, 1, 1, op.CREATE_SESSION, (30_000,)) + encode_digest(12345)
    put(disk, "log.1", HEADER + encode_records([Entry(1, payload)]))
    assert recover(disk, disk, DataTree()).mismatches == (1,)


def test_logs_without_a_snapshot_are_refused(disk: Disk, apache_log: bytes, put: Put):
    put(disk, "log.100000001", apache_log)
    with pytest.raises(DiskError, match="no snapshot"):
        recover(disk, disk, DataTree())


@pytest.fixture
def snapshots(entry: MakeEntry) -> Iterator[SimDisk]:
    """Snapshots 0, 3, 6 and 9, a log from each, and txns up to 11."""
    disk = SimDisk(Random(1))
    tree = DataTree()
    recover(disk, disk, tree)
    log = TxnLog(disk)
    for zxid in range(1, 12):
        log.append([entry(zxid)])
        log.sync()
        apply(tree, entry(zxid))
        if zxid % 3 == 0:
            log.roll()
            save_snapshot(disk, zxid, write_snapshot(tree))
    log.close()
    yield disk


@pytest.mark.parametrize("rotten", [0, 1, 2, 3])
def test_a_rotten_snapshot_gives_way_to_the_one_before(snapshots: SimDisk, rotten: int):
    for zxid in (9, 6, 3)[:rotten]:
        snapshots.flip(f"snapshot.{zxid}", 40)
    tree = DataTree()
    found = recover(snapshots, snapshots, tree)
    assert (found.snapshot_zxid, found.last_zxid) == (9 - 3 * rotten, 11)
    assert [path for path, _ in tree.items() if path.startswith(b"/n")] == [b"/n%d" % zxid for zxid in range(1, 12)]


def test_no_good_snapshot_is_refused_by_name(snapshots: SimDisk):
    for zxid in (9, 6, 3, 0):
        snapshots.flip(f"snapshot.{zxid}", 40)
    with pytest.raises(DiskError, match=r"snapshot\.9.*snapshot\.0"):
        recover(snapshots, snapshots, DataTree())


def test_a_temporary_file_is_no_snapshot(snapshots: SimDisk, put: Put):
    assert not TEMPORARY.startswith(("snapshot.", "log."))
    put(snapshots, TEMPORARY, b"half of a snapsh")
    assert recover(snapshots, snapshots, DataTree()).snapshot_zxid == 9


def test_purge_keeps_what_the_snapshots_left_need(snapshots: SimDisk):
    assert purge(snapshots, snapshots, 2) == ["snapshot.0", "snapshot.3", "log.1", "log.4"]
    assert kept(snapshots) == ["log.7", "log.a", "snapshot.6", "snapshot.9"]
    snapshots.flip("snapshot.9", 40)
    assert recover(snapshots, snapshots, DataTree()).last_zxid == 11


def test_purge_does_not_count_snapshots_cut_short(snapshots: SimDisk):
    file = snapshots.open("snapshot.9")
    file.truncate(60)
    purge(snapshots, snapshots, 1)
    assert recover(snapshots, snapshots, DataTree()).snapshot_zxid == 6


def test_purge_keeps_the_log_that_holds_the_next_txn(entry: MakeEntry, put: Put):
    disk = SimDisk(Random(1))
    tree = DataTree()
    for zxid in range(1, 6):
        apply(tree, entry(zxid))
    put(disk, "log.1", HEADER + encode_records([entry(zxid) for zxid in range(1, 8)]))
    save_snapshot(disk, 5, write_snapshot(tree))
    assert purge(disk, disk, 1) == []
    assert recover(disk, disk, DataTree()).last_zxid == 7


def test_purge_keeps_a_log_of_one_txn(entry: MakeEntry, put: Put):
    disk = SimDisk(Random(1))
    save_snapshot(disk, 0, write_snapshot(DataTree()))
    for zxid in (1, 2):
        put(disk, f"log.{zxid}", HEADER + encode_records([entry(zxid)]))
    assert purge(disk, disk, 1) == []
    assert recover(disk, disk, DataTree()).last_zxid == 2


def test_over_a_fuzzy_snapshot_digests_are_compared_only_behind_it(put: Put):
    disk = SimDisk(Random(1))
    tree = DataTree()
    entries = []

    def commit(kind: int, record: tuple[object, ...], lie: int = 0) -> None:
        zxid = tree.last_zxid + 1
        txn = (1, zxid, zxid, zxid, kind, record)
        tree.apply(txn)
        entries.append(Entry(zxid, encode_txn(*txn) + encode_digest(tree.digest + lie)))

    for path in (b"/a", b"/b"):
        commit(op.CREATE, (path, b"", (), False, len(entries) + 1))
    chunks = write_snapshot(tree)
    head = next(chunks)
    commit(op.SET_DATA, (b"/a", b"three", 1))
    commit(op.SET_DATA, (b"/b", b"four", 1))
    save_snapshot(disk, 2, [head, *chunks])
    commit(op.SET_DATA, (b"/a", b"five", 2))
    commit(op.SET_DATA, (b"/a", b"six", 3), lie=1)
    put(disk, "log.1", HEADER + encode_records(entries))
    again = DataTree()
    found = recover(disk, disk, again)
    assert (found.snapshot_zxid, found.txns, found.mismatches) == (2, 4, (6,))
    assert again.digest == tree.digest


def live(disk: SimDisk, tree: DataTree, chance: Random, entry: MakeEntry) -> int:
    """A server's disk work: batches, a snapshot in slices between them, purges. Returns the last zxid synced."""
    synced = tree.last_zxid
    log = TxnLog(disk, fill_ahead_bytes=4096)
    chunks: Iterator[bytes] | None = None
    try:
        for _ in range(25):
            batch = [entry(tree.last_zxid + 1 + step) for step in range(1 + chance.randrange(3))]
            log.append(batch)
            log.sync()
            for item in batch:
                apply(tree, item)
            synced = tree.last_zxid
            if chunks is None and chance.randrange(5) == 0:
                log.roll()
                zxid, at = synced, 0
                file = disk.create(TEMPORARY)
                chunks = write_snapshot(tree)
            if chunks is not None:
                chunk = next(chunks, None)
                if chunk is not None:
                    file.write(at, chunk)
                    at += len(chunk)
                    continue
                file.sync()
                disk.rename(TEMPORARY, f"snapshot.{zxid:x}")
                disk.sync()
                chunks = None
                purge(disk, disk, 2)
    except PowerCut:
        pass
    return synced


@pytest.mark.parametrize("seed", seeds(6, quick=2))
def test_power_cut_at_every_effect_of_a_server_loses_nothing_synced(seed: int, entry: MakeEntry):
    whole = SimDisk(Random(seed))
    recover(whole, whole, tree := DataTree())
    live(whole, tree, Random(seed), entry)
    for cut_before in range(1, whole.effects + 1):
        disk = SimDisk(Random(seed * 1000 + cut_before), cut_before, in_order=True)
        tree, synced = DataTree(), 0
        try:
            recover(disk, disk, tree)
            synced = live(disk, tree, Random(seed), entry)
        except PowerCut:
            pass
        for _ in range(2):
            disk.cut_power()
            disk.restart()
            tree = DataTree()
            found = recover(disk, disk, tree)
            assert found.last_zxid >= synced
            names = {path for path, _ in tree.items() if path.startswith(b"/n")}
            assert names == {b"/n%d" % zxid for zxid in range(1, found.last_zxid + 1)}
            disk.cut_before = disk.effects + 1 + cut_before % 17
            synced = live(disk, tree, Random(cut_before), entry)
