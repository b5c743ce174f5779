"""A member's data directory on simulated disks, for the tests of the store."""

from collections.abc import Callable
from random import Random

from recipes.core.disk.cells import read_cells, write_cell
from recipes.core.disk.disk import Disk
from recipes.core.disk.recovery import Recovered, save_snapshot
from recipes.core.disk.snapshot import HEADER as SNAPSHOT_HEADER
from recipes.core.disk.snapshot import write_snapshot
from recipes.core.disk.store import Store
from recipes.core.jute.txns import decode_txn
from recipes.core.replication import Entry, Operation
from recipes.core.sim.disk import SimDisk
from recipes.core.tree.tree import DataTree
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, epoch_cell, stored_epoch
from recipes.core.zab.protocol import ZAB

MakeEntry = Callable[..., Entry]
Put = Callable[[Disk, str, bytes], None]
E1, E2, E3 = 1 << 32, 2 << 32, 3 << 32


class Directory:
    """Two disks and the store on them, as a server has them from one start to the next."""

    def __init__(self, entry: MakeEntry, seed: int = 1, in_order: bool = True, apart: bool = True):
        self.entry = entry
        self.snapshots = SimDisk(Random(seed), in_order=in_order)
        self.logs = SimDisk(Random(seed + 1), in_order=in_order) if apart else self.snapshots
        self.start()

    @property
    def disks(self) -> list[SimDisk]:
        return [self.snapshots] if self.logs is self.snapshots else [self.snapshots, self.logs]

    def start(self) -> Recovered:
        self.store = Store(self.snapshots, self.logs, 4096, protocol=ZAB)
        self.tree = DataTree()
        self.found = self.store.recover(self.tree)
        return self.found

    def log(self, *zxids: int) -> None:
        entries = [self.entry(zxid) for zxid in zxids]
        self.store.append(entries)
        self.store.sync()
        for item in entries:
            self.tree.apply(decode_txn(item.payload)[0])

    def snapshot(self) -> None:
        self.store.roll()
        save_snapshot(self.snapshots, self.tree.last_zxid, write_snapshot(self.tree))

    def carry_out(self, operation: Operation) -> None:
        tree = self.store.carry_out(operation)
        if tree is not None:
            self.tree = tree

    def crash(self) -> Recovered:
        for disk in self.disks:
            disk.cut_power()
        for disk in self.disks:
            disk.restart()
        return self.start()

    @property
    def state(self) -> tuple[int, frozenset[bytes], str]:
        nodes = frozenset(path for path, _ in self.tree.items() if path.startswith(b"/n"))
        return self.tree.last_zxid, nodes, self.found.unsure


def run(first: int, last: int) -> range:
    return range(first, last + 1)


def names(*zxids: int) -> frozenset[bytes]:
    return frozenset(b"/n%d" % zxid for zxid in zxids)


def leaders_body(*zxids: int) -> bytes:
    """The body of a SNAP by a leader that has these txns."""
    tree = DataTree()
    for zxid in zxids:
        tree.apply((1, 1, zxid, 1, 1, (b"/n%d" % zxid, b"", ((31, b"world", b"anyone"),), False, 1)))
    data = b"".join(write_snapshot(tree))
    return data[len(SNAPSHOT_HEADER) : len(data) - 13 - 20 - 13]


def build(directory: Directory) -> None:
    directory.carry_out(epoch_cell(ACCEPTED_EPOCH, 5))
    directory.carry_out(epoch_cell(CURRENT_EPOCH, 1))
    directory.log(*run(E1 + 1, E1 + 4))
    directory.snapshot()
    directory.log(*run(E1 + 5, E1 + 7))
    directory.store.reserve()
    directory.store.roll()
    directory.log(*run(E1 + 8, E1 + 9))


def fuzzy(directory: Directory, *later: int) -> None:
    """A snapshot named after the last txn that shows later ones too, which are logged."""
    chunks = write_snapshot(directory.tree)
    zxid = directory.tree.last_zxid
    head = next(chunks)
    directory.log(*later)
    save_snapshot(directory.snapshots, zxid, [head, *chunks])


def write_epoch(disk, name, epoch):
    write_cell(disk, name, b"%d" % epoch)


def read_epoch(disk, name):
    return stored_epoch(read_cells(disk, [name]), name)


def epochs_of(found):
    """The accepted epoch and the current one that recovery has found."""
    return stored_epoch(found.cells, ACCEPTED_EPOCH), stored_epoch(found.cells, CURRENT_EPOCH)
