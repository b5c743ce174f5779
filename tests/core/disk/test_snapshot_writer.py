"""Snapshots beside a server that goes on, and beside a tree that is replaced."""

from contextlib import AbstractContextManager, nullcontext
from errno import ENOSPC
from itertools import count
from random import Random

import pytest

from recipes.core.disk.jobs import Naming
from recipes.core.disk.recovery import TEMPORARY
from recipes.core.disk.replacements import Replacements
from recipes.core.disk.snapshot_writer import SnapshotWriter
from recipes.core.errors import InvariantBroken
from recipes.core.jute import opcodes as op
from recipes.core.sim.disk import SimDisk, SimFile
from recipes.core.tree.acl import OPEN_ACL
from recipes.core.tree.tree import DataTree


@pytest.fixture
def tree() -> DataTree:
    tree = DataTree()
    for zxid in range(1, 1200):
        tree.apply((0, 0, zxid, 0, op.CREATE, (b"/n%d" % zxid, b"", OPEN_ACL, False, zxid)))
    return tree


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(Random(1))


@pytest.fixture
def replacements() -> Replacements:
    return Replacements(nullcontext())


@pytest.fixture
def snapshots(disk: SimDisk, replacements: Replacements) -> SnapshotWriter:
    """Each look at the clock takes a second: a slice is one chunk."""
    return SnapshotWriter(
        disk, 10, replacements, randrange=Random(1).randrange, clock=count().__next__, log=lambda text, is_error: None
    )


def written(snapshots: SnapshotWriter) -> Naming:
    slices = 0
    while (naming := snapshots.step()) is None:
        assert snapshots.writing
        slices += 1
    assert slices > 1 and not snapshots.writing
    return naming


def name(snapshots: SnapshotWriter, naming: Naming) -> None:
    naming.finish(None)
    snapshots.done(naming)


def test_a_snapshot_gets_its_name_once_it_is_durable(disk, tree, snapshots):
    snapshots.begin(tree, 0)
    naming = written(snapshots)
    assert disk.names() == [TEMPORARY]
    assert disk.unsynced(TEMPORARY) == [TEMPORARY]
    name(snapshots, naming)
    assert disk.names() == ["snapshot.4af"]
    assert disk.unsynced("snapshot") == []


def test_one_under_way_when_the_tree_is_replaced_is_dropped(disk, tree, snapshots, replacements):
    snapshots.begin(tree, 0)
    replacements.count += 1  # nobody said abandon
    assert snapshots.step() is None
    assert not snapshots.writing
    assert disk.names() == [TEMPORARY]
    snapshots.begin(tree, 0)
    name(snapshots, written(snapshots))
    assert disk.names() == ["snapshot.4af"]


def test_one_that_was_all_written_gets_no_name_after_a_replacement_was_asked_for(disk, tree, snapshots, replacements):
    snapshots.begin(tree, 0)
    naming = written(snapshots)
    replacements.count += 1
    name(snapshots, naming)
    assert not naming.named
    assert disk.names() == [TEMPORARY]


def test_a_name_is_given_and_files_are_purged_only_outside_a_replacement(disk, tree):
    held = []

    class Lock(AbstractContextManager):
        def __enter__(self):
            held.append(disk.names())

        def __exit__(self, *error):
            held.append(disk.names())

    snapshots = SnapshotWriter(
        disk, 10, Replacements(Lock()), randrange=Random(1).randrange, clock=count().__next__, log=lambda *said: None
    )
    snapshots.begin(tree, 0)
    naming = written(snapshots)
    assert held == []
    name(snapshots, naming)
    assert held == [[TEMPORARY], ["snapshot.4af"]]
    disk.create("snapshot.1").close()
    assert snapshots.purge(disk, 1) == ["snapshot.1"]
    assert held[2:] == [["snapshot.1", "snapshot.4af"], ["snapshot.4af"]]


def test_abandon_stops_the_one_under_way(disk, tree, snapshots):
    snapshots.begin(tree, 0)
    assert snapshots.writing
    snapshots.abandon()
    assert not snapshots.writing
    snapshots.abandon()
    assert disk.names() == [TEMPORARY]


def test_none_is_begun_while_the_tree_is_replaced(tree, snapshots, replacements):
    replacements.pending = 1
    assert not snapshots.is_due(20, 0)
    with pytest.raises(InvariantBroken):
        snapshots.begin(tree, 0)
    replacements.pending = 0
    assert snapshots.is_due(0, 0)


def test_none_is_begun_beside_one_that_waits_for_its_name(tree, snapshots):
    snapshots.begin(tree, 0)
    naming = written(snapshots)
    assert not snapshots.is_due(20, 1 << 30)
    with pytest.raises(InvariantBroken):
        snapshots.begin(tree, 0)
    name(snapshots, naming)
    assert snapshots.is_due(0, 1 << 30)


def test_of_a_large_tree_none_is_due_before_the_log_is_twice_as_large(disk, tree, snapshots):
    assert snapshots.is_due(10, 1000)  # the first one: nothing is known of its size
    snapshots.begin(tree, 1000)
    name(snapshots, written(snapshots))
    size_bytes = len(disk.read("snapshot.4af"))
    assert not snapshots.is_due(10, 1000 + 2 * size_bytes - 1)
    assert snapshots.is_due(0, 1000 + 2 * size_bytes)


def test_after_one_that_failed_the_next_waits_for_its_txns_only(disk, tree, snapshots, monkeypatch):
    snapshots.begin(tree, 0)
    name(snapshots, written(snapshots))

    def full(name: str) -> SimFile:
        raise OSError(ENOSPC, "no space left")

    monkeypatch.setattr(disk, "create", full)
    snapshots.begin(tree, 1_000_000)
    assert not snapshots.writing
    assert snapshots.is_due(10, 1_000_001)


def test_one_that_cannot_be_synced_gets_no_name_and_says_so(disk, tree, replacements):
    said = []
    snapshots = SnapshotWriter(
        disk,
        10,
        replacements,
        randrange=Random(1).randrange,
        clock=count().__next__,
        log=lambda *what: said.append(what),
    )
    snapshots.begin(tree, 0)
    naming = written(snapshots)
    disk.fail_syncs = True
    name(snapshots, naming)
    assert disk.names() == [TEMPORARY]
    assert said == [("snapshot 0x4af was not written: [Errno 5] the simulated disk failed to sync", True)]
    assert snapshots.is_free
