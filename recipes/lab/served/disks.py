"""The disks of servers: what a power cut leaves, and what a scenario puts on them before the first start."""

from collections.abc import Callable
from typing import Any

from recipes.core.disk.replace import REJOIN
from recipes.core.disk.store import Store
from recipes.core.errors import BadArguments
from recipes.core.jute.txns import blank_txn
from recipes.core.replication import Cell, Entry, ReplicationProtocol
from recipes.core.sim.chance import Random
from recipes.core.sim.disk import SimDisk
from recipes.core.tree.tree import DataTree


class Fate:
    """Decides what survives a power cut. loses_all: nothing that was not synced does."""

    def __init__(self, chance: Random) -> None:
        self.loses_all: bool = False
        self._chance = chance

    def randrange(self, stop: int, /) -> int:
        """A number from 0 to `stop` - 1; 0 stands for the loss."""
        return 0 if self.loses_all else self._chance.randrange(stop)


def replace_disk(disk: SimDisk) -> None:
    """An empty disk, with the marker that an operator must put there."""
    disk.wipe()
    disk.create(REJOIN).close()
    disk.sync()


def fill(
    disk: SimDisk,
    protocol: ReplicationProtocol,
    cells: Callable[[int, int], list[Cell]],
    epochs: list[Any] | None,
    stored: int,
    name: str,
) -> None:
    """Write a log before the first start: an entry for each number, which is its epoch or term.

    cells: see ServedProtocol. stored: the epoch or term that its disk has, if it is a later one.

    Raises BadArguments if the numbers fall.
    """
    if not epochs:
        if not stored:
            return
        epochs = []
    if not all(isinstance(epoch, int) and epoch > 0 for epoch in epochs) or epochs != sorted(epochs):
        raise BadArguments("", f"settings.logs.{name} = {epochs!r}: expected terms, none below the one before")
    store = Store(disk, disk, 4096, protocol)
    store.recover(DataTree())
    entries: list[Entry] = []
    counters: dict[int, int] = {}
    for epoch in epochs:
        counters[epoch] = counters.get(epoch, 0) + 1
        zxid = (epoch << 32) + counters[epoch]
        entries.append(Entry(zxid, blank_txn(zxid)))
    if entries:
        store.append(entries)
        store.sync()
    last = epochs[-1] if epochs else 0
    for cell in cells(last, max(last, stored)):
        store.carry_out(cell)
    store.close()
