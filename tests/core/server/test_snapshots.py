"""Snapshots beside a server that goes on, and beside a tree that is replaced."""

import asyncio
import threading
from errno import ENOSPC
from random import Random

import pytest

from recipes.core.disk.recovery import TEMPORARY
from recipes.core.errors import InvariantBroken
from recipes.core.jute import opcodes as op
from recipes.core.server.replacements import Replacements
from recipes.core.server.snapshots import Snapshots
from recipes.core.sim.disk import SimDisk, SimFile
from recipes.core.tree.acl import OPEN_ACL
from recipes.core.tree.tree import DataTree


class HeldFile(SimFile):
    """A file whose sync waits until the test lets it go."""

    begun = threading.Event()
    go = threading.Event()

    def sync(self) -> None:
        HeldFile.begun.set()
        assert HeldFile.go.wait(30)
        super().sync()


class HeldDisk(SimDisk):
    def create(self, name: str) -> SimFile:
        file = super().create(name)
        return HeldFile(self, file._inode)


@pytest.fixture
def tree() -> DataTree:
    tree = DataTree()
    for zxid in range(1, 1200):
        tree.apply((0, 0, zxid, 0, op.CREATE, (b"/n%d" % zxid, b"", OPEN_ACL, False, zxid)))
    return tree


@pytest.fixture
def disk() -> HeldDisk:
    HeldFile.begun, HeldFile.go = threading.Event(), threading.Event()
    return HeldDisk(Random(1))


async def written(snapshots: Snapshots) -> None:
    async with asyncio.timeout(30):
        while snapshots.writing:
            snapshots.step()
            await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_snapshot_gets_its_name_once_it_is_durable(disk: HeldDisk, tree: DataTree):
    snapshots = Snapshots(disk, disk, 100, Replacements())
    snapshots.begin(tree, 0)
    await written(snapshots)
    assert await asyncio.to_thread(HeldFile.begun.wait, 30)
    assert disk.names() == [TEMPORARY]
    HeldFile.go.set()
    await snapshots.close()
    assert disk.names() == ["snapshot.4af"]


@pytest.mark.asyncio
async def test_one_under_way_when_the_tree_is_replaced_is_dropped(disk: HeldDisk, tree: DataTree):
    replacements = Replacements()
    snapshots = Snapshots(disk, disk, 100, replacements)
    HeldFile.go.set()
    snapshots.begin(tree, 0)
    replacements.count += 1  # nobody said abandon
    snapshots.step()
    assert not snapshots.writing
    await snapshots.close()
    assert disk.names() == [TEMPORARY]
    snapshots.begin(tree, 0)
    await written(snapshots)
    await snapshots.close()
    assert disk.names() == ["snapshot.4af"]


@pytest.mark.asyncio
async def test_one_that_was_all_written_gets_no_name_after_a_replacement_was_asked_for(disk: HeldDisk, tree: DataTree):
    replacements = Replacements()
    snapshots = Snapshots(disk, disk, 100, replacements)
    snapshots.begin(tree, 0)
    await written(snapshots)
    assert await asyncio.to_thread(HeldFile.begun.wait, 30)
    replacements.count += 1
    HeldFile.go.set()
    await snapshots.close()
    assert disk.names() == [TEMPORARY]


@pytest.mark.asyncio
async def test_a_name_is_given_and_files_are_purged_only_outside_a_replacement(disk: HeldDisk, tree: DataTree):
    replacements = Replacements()
    snapshots = Snapshots(disk, disk, 100, replacements)
    HeldFile.go.set()
    with replacements.lock:
        snapshots.begin(tree, 0)
        await written(snapshots)
        assert await asyncio.to_thread(HeldFile.begun.wait, 30)
        purged = snapshots.purge(1)
        done, _ = await asyncio.wait([purged], timeout=0.05)
        assert not done
        assert disk.names() == [TEMPORARY]
    async with asyncio.timeout(30):
        await purged
    await snapshots.close()
    assert disk.names() == ["snapshot.4af"]


@pytest.mark.asyncio
async def test_abandon_stops_the_one_under_way(disk: HeldDisk, tree: DataTree):
    snapshots = Snapshots(disk, disk, 100, Replacements())
    snapshots.begin(tree, 0)
    assert snapshots.writing
    snapshots.abandon()
    assert not snapshots.writing
    snapshots.abandon()
    await snapshots.close()
    assert disk.names() == [TEMPORARY]


@pytest.mark.asyncio
async def test_none_is_begun_while_the_tree_is_replaced(disk: HeldDisk, tree: DataTree):
    replacements = Replacements()
    snapshots = Snapshots(disk, disk, 10, replacements)
    replacements.pending = 1
    assert not snapshots.is_due(20, 0)
    with pytest.raises(InvariantBroken):
        snapshots.begin(tree, 0)
    replacements.pending = 0
    assert snapshots.is_due(0, 0)


@pytest.mark.asyncio
async def test_of_a_large_tree_none_is_due_before_the_log_is_twice_as_large(disk: HeldDisk, tree: DataTree):
    snapshots = Snapshots(disk, disk, 10, Replacements())
    HeldFile.go.set()
    assert snapshots.is_due(10, 1000)  # the first one: nothing is known of its size
    snapshots.begin(tree, 1000)
    await written(snapshots)
    await snapshots.close()
    size_bytes = len(disk.read("snapshot.4af"))
    assert not snapshots.is_due(10, 1000 + 2 * size_bytes - 1)
    assert snapshots.is_due(0, 1000 + 2 * size_bytes)


@pytest.mark.asyncio
async def test_after_one_that_failed_the_next_waits_for_its_txns_only(disk: HeldDisk, tree: DataTree, monkeypatch):
    snapshots = Snapshots(disk, disk, 10, Replacements())
    HeldFile.go.set()
    snapshots.begin(tree, 0)
    await written(snapshots)
    await snapshots.close()

    def full(name: str) -> SimFile:
        raise OSError(ENOSPC, "no space left")

    monkeypatch.setattr(disk, "create", full)
    snapshots.begin(tree, 1_000_000)
    assert not snapshots.writing
    assert snapshots.is_due(10, 1_000_001)
