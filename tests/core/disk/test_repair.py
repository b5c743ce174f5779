"""A log damaged before its end: repair sees what recovery refuses, cuts there, and keeps what it cuts."""

from collections.abc import Callable

import pytest

from recipes.core.disk.disk import Disk
from recipes.core.disk.recovery import recover, save_snapshot
from recipes.core.disk.repair import find_loss, truncate
from recipes.core.disk.snapshot import write_snapshot
from recipes.core.disk.txnlog import HEADER, encode_records
from recipes.core.errors import DiskError
from recipes.core.jute.txns import decode_txn
from recipes.core.replication import Entry
from recipes.core.tree.tree import DataTree

MakeEntry = Callable[..., Entry]
Put = Callable[[Disk, str, bytes], None]


@pytest.fixture
def filled(disk: Disk, entry: MakeEntry, put: Put) -> Disk:
    """snapshot.0, and zxids 1 to 9 in log.1, log.4 and log.7."""
    save_snapshot(disk, 0, write_snapshot(DataTree()))
    for start in (1, 4, 7):
        put(disk, f"log.{start}", HEADER + encode_records([entry(start + step) for step in range(3)]) + bytes(64))
    return disk


def damage(disk: Disk, put: Put, name: str, offset: int) -> None:
    data = bytearray(disk.read(name))
    data[offset] ^= 0x55
    put(disk, name, bytes(data))


def second_record(disk: Disk, name: str) -> int:
    return 16 + 13 + int.from_bytes(disk.read(name)[24:28], "big")


def recovered(disk: Disk) -> int:
    return recover(disk, disk, DataTree()).last_zxid


def test_a_whole_log_has_no_loss(filled: Disk):
    assert find_loss(filled, filled) is None


def test_a_torn_tail_is_no_loss(filled: Disk, put: Put):
    at = second_record(filled, "log.7")
    put(filled, "log.7", filled.read("log.7")[: at + 20])
    assert find_loss(filled, filled) is None
    assert recovered(filled) == 7


def test_what_is_behind_the_damage_is_told(filled: Disk, put: Put):
    at = second_record(filled, "log.4")
    damage(filled, put, "log.4", at + 30)
    loss = find_loss(filled, filled)
    assert loss is not None
    assert (loss.name, loss.offset, loss.last_zxid) == ("log.4", at, 4)
    assert loss.lost == (6, 7, 8, 9)  # 5 is the damaged one
    assert (loss.logs, loss.snapshots) == (("log.7",), ())


def test_the_log_is_cut_and_what_is_cut_is_kept(filled: Disk, put: Put, entry: MakeEntry):
    damage(filled, put, "log.4", second_record(filled, "log.4") + 30)
    before = {name: filled.read(name) for name in ("log.4", "log.7")}
    with pytest.raises(DiskError, match=r"log\.4.*after zxid 0x4.*recipes repair"):
        recovered(filled)
    loss = find_loss(filled, filled)
    assert loss is not None
    assert truncate(filled, filled, loss) == ["damaged-log.4", "damaged-log.7"]
    assert {name: filled.read(f"damaged-{name}") for name in before} == before
    assert recovered(filled) == 4
    assert find_loss(filled, filled) is None
    put(filled, "log.5", HEADER + encode_records([entry(5), entry(6)]))  # life goes on in a new file
    assert recovered(filled) == 6


def test_a_second_repair_keeps_the_first_ones_copies(filled: Disk, put: Put):
    for _ in range(2):
        damage(filled, put, "log.1", second_record(filled, "log.1") + 30)
        loss = find_loss(filled, filled)
        assert loss is not None
        truncate(filled, filled, loss)
        put(filled, "log.1", filled.read("damaged-log.1"))
        damage(filled, put, "log.1", second_record(filled, "log.1") + 30)
    assert {"damaged-log.1", "damaged-log.1-2"} <= set(filled.names())


def test_a_missing_file_is_a_damage_too(filled: Disk):
    filled.remove("log.4")
    loss = find_loss(filled, filled)
    assert loss is not None
    assert (loss.name, loss.offset, loss.last_zxid, loss.lost) == ("log.7", 0, 3, (7, 8, 9))
    with pytest.raises(DiskError):
        recovered(filled)
    truncate(filled, filled, loss)
    assert recovered(filled) == 3


def test_wherever_a_byte_is_wrong_repair_sees_what_recovery_refuses(filled: Disk, put: Put):
    whole = {name: filled.read(name) for name in ("log.1", "log.4", "log.7")}
    for name, data in whole.items():
        for offset in range(16, len(data) - 64, 7):
            damage(filled, put, name, offset)
            loss = find_loss(filled, filled)
            if loss is None:
                recovered(filled)
            else:
                with pytest.raises(DiskError):
                    recovered(filled)
                truncate(filled, filled, loss)
                assert recovered(filled) == loss.last_zxid
            for found in filled.names():
                if found.startswith("damaged-"):
                    filled.remove(found)
            for each, before in whole.items():
                put(filled, each, before)


def test_a_snapshot_that_shows_what_is_cut_is_set_aside(filled: Disk, entry: MakeEntry, put: Put):
    tree = DataTree()
    for zxid in range(1, 5):
        tree.apply(decode_txn(entry(zxid).payload)[0])
    chunks = write_snapshot(tree)
    begun = next(chunks)
    for zxid in range(5, 8):  # it is fuzzy: written while these came
        tree.apply(decode_txn(entry(zxid).payload)[0])
    save_snapshot(filled, 4, [begun, *chunks])
    at = second_record(filled, "log.4")
    damage(filled, put, "log.4", at + 30)
    loss = find_loss(filled, filled)
    assert loss is not None
    assert (loss.last_zxid, loss.snapshots) == (4, ("snapshot.4",))
    truncate(filled, filled, loss)
    assert recovered(filled) == 4
    assert "snapshot.4" not in filled.names()


def test_a_later_snapshot_makes_up_for_what_is_cut(filled: Disk, entry: MakeEntry, put: Put):
    tree = DataTree()
    for zxid in range(1, 6):
        tree.apply(decode_txn(entry(zxid).payload)[0])
    save_snapshot(filled, 5, write_snapshot(tree))
    damage(filled, put, "log.4", second_record(filled, "log.4") + 30)
    loss = find_loss(filled, filled)
    assert loss is not None
    assert (loss.last_zxid, loss.lost, loss.snapshots) == (5, (6, 7, 8, 9), ())
    truncate(filled, filled, loss)
    assert recovered(filled) == 5


def test_without_a_snapshot_from_before_there_is_nothing_to_keep(filled: Disk, put: Put):
    filled.remove("snapshot.0")
    damage(filled, put, "log.4", second_record(filled, "log.4") + 30)
    with pytest.raises(DiskError, match="no snapshot"):
        find_loss(filled, filled)
