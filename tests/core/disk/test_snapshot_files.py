"""Snapshots that Apache compressed, as a 3.8.0 wrote them, and files whose names tell too little or too much."""

import gzip
import sys

import pytest

from recipes.core.disk.disk import Disk
from recipes.core.disk.recovery import TEMPORARY, purge, recover, recover_member
from recipes.core.disk.repair import find_loss
from recipes.core.disk.snapshot import write_snapshot
from recipes.core.disk.snapshot_files import read_snapshot_file, snapshot_files, snapshot_zxid
from recipes.core.disk.store import Store
from recipes.core.disk.txnlog import HEADER, encode_records, file_zxid
from recipes.core.errors import DiskError
from recipes.core.replication import Recovered, Truncate
from recipes.core.tree.tree import DataTree
from recipes.core.zab.protocol import ZAB
from tests.core.disk.conftest import golden

KINDS = [("snapshot.6.gz", 6), ("snapshot.5.snappy", 5)]


def recover_zab(snapshots: Disk, logs: Disk, tree: DataTree) -> Recovered:
    return recover_member(snapshots, logs, tree, ZAB)


def names(tree: DataTree) -> list[bytes]:
    return sorted(path for path, _ in tree.items() if path.startswith(b"/n"))


@pytest.mark.parametrize(("name", "zxid"), KINDS)
@pytest.mark.parametrize("start", [recover, recover_zab])
def test_servers_2_interop_2_a_compressed_snapshot_alone_is_the_tree(disk: Disk, put, start, name, zxid):
    put(disk, name, golden(name))
    tree = DataTree()
    found = start(disk, disk, tree)
    assert (found.snapshot_zxid, found.last_zxid, found.unsure) == (zxid, zxid, "")
    assert names(tree) == [b"/n%02d" % number for number in range(zxid - 1)]
    assert [name for _, name in snapshot_files(disk)] == [name]


@pytest.mark.parametrize(("name", "zxid"), KINDS)
def test_servers_2_the_log_goes_on_behind_it(disk: Disk, put, entry, name, zxid):
    put(disk, name, golden(name))
    put(disk, f"log.{zxid + 1:x}", HEADER + encode_records([entry(zxid + 1)]))
    tree = DataTree()
    assert recover(disk, disk, tree).last_zxid == zxid + 1
    assert (len(names(tree)), names(tree)[-1]) == (zxid, b"/n%d" % (zxid + 1))
    assert find_loss(disk, disk) is None


@pytest.mark.parametrize("name", ["snapshot.6.gz", "snapshot.5.snappy"])
def test_servers_2_a_compressed_snapshot_that_is_cut_anywhere_is_named(disk: Disk, put, name):
    whole = golden(name)
    for size in range(0, len(whole), 7):
        put(disk, name, whole[:size])
        with pytest.raises(DiskError, match=f"no snapshot can be read: {name}: "):
            recover(disk, disk, DataTree())


def test_servers_2_a_snapshot_that_was_compressed_by_hand_counts_too(disk: Disk, put):
    put(disk, "snapshot.0.GZ", gzip.compress(b"".join(write_snapshot(DataTree()))))
    assert recover(disk, disk, DataTree()).last_zxid == 0
    put(disk, "snapshot.1.bak", b"".join(write_snapshot(DataTree())))  # Apache reads this one too
    assert recover(disk, disk, DataTree()).last_zxid == 1


def test_servers_2_without_the_library_the_newest_file_is_named(disk: Disk, put, monkeypatch):
    put(disk, "snapshot.0", b"".join(write_snapshot(DataTree())))
    put(disk, "snapshot.5.snappy", golden("snapshot.5.snappy"))
    monkeypatch.setitem(sys.modules, "cramjam", None)
    for start in (recover, recover_zab):
        with pytest.raises(DiskError, match=r"snapshot\.5\.snappy: .*zab-recipes\[snappy\]"):
            start(disk, disk, DataTree())
    put(disk, "snapshot.6.gz", golden("snapshot.6.gz"))  # nothing needs the older one
    assert recover(disk, disk, DataTree()).last_zxid == 6


def test_servers_2_what_is_purged_and_taken_back_counts_compressed_ones(disk: Disk, put, entry):
    for name, _ in KINDS:
        put(disk, name, golden(name))
    put(disk, "snapshot.7.gz", b"")
    put(disk, "log.1", HEADER + encode_records([entry(zxid) for zxid in range(1, 9)]))
    assert purge(disk, disk, 1) == ["snapshot.5.snappy"]
    store = Store(disk, disk, 1 << 10, protocol=ZAB)
    store.carry_out(Truncate(6))
    assert [name for _, name in snapshot_files(disk)] == ["snapshot.6.gz"]


@pytest.mark.parametrize("name", ["snapshot", "snapshot.", "snapshot.x.gz", "snapshot.1_0", "asnapshot.1", TEMPORARY])
def test_other_names_are_no_snapshots(name):
    assert snapshot_zxid(name) is None


def test_small_1_a_log_has_a_plain_number():
    assert [file_zxid(name, "log") for name in ("log.1_0", "log.+1", "log.1f", "log. 1", "log.1.gz")] == [
        None, None, 31, None, None,
    ]  # fmt: skip


def test_a_plain_file_comes_as_it_is(disk: Disk, put):
    put(disk, "snapshot.1", b"x")
    assert read_snapshot_file(disk, "snapshot.1") == b"x"
