"""Snapshots of a simulated server, written slice by slice while its tree goes on changing."""

from collections.abc import Callable, Iterator

from recipes.core.disk.disk import File
from recipes.core.disk.recovery import TEMPORARY, purge
from recipes.core.disk.snapshot import snapshot_name, write_snapshot
from recipes.core.sim.disk import SimDisk
from recipes.core.tree.tree import DataTree

SLICE_US = 2000  # between two slices of a tree, on disk or on the wire
_RETAINED = 3


class Snapshots:
    """Takes one whenever so many txns were logged.

    after(delay_us, action, *args): has something done later, as long as the server lives. happened: counts snapshots.
    roll_due: the next batch is to begin a new log file.
    """

    def __init__(
        self, disk: SimDisk, snap_count: int, after: Callable[..., None], happened: Callable[[str], None]
    ) -> None:
        self.roll_due: bool = False
        self._disk = disk
        self._snap_count = snap_count
        self._after = after
        self._happened = happened
        self._txns = 0
        self._tree: DataTree | None = None  # of which one is being written
        self._file: File
        self._zxid = self._size_bytes = 0

    def logged(self, txns: int, tree: DataTree) -> None:
        """So many more txns were logged; begin a snapshot of the tree when it is time."""
        self._txns += txns
        if self._txns < self._snap_count or self._tree is not None:
            return
        self._txns = 0
        self.roll_due = True
        self._tree, self._zxid, self._size_bytes = tree, tree.last_zxid, 0
        self._file = self._disk.create(TEMPORARY)
        self._after(SLICE_US, self._write_slice, tree, write_snapshot(tree))

    def drop(self) -> None:
        """The tree it is taken of is not the store any more."""
        if self._tree is not None:
            self._tree = None
            self._file.close()

    def _write_slice(self, tree: DataTree, chunks: Iterator[bytes]) -> None:
        if self._tree is not tree:
            return
        chunk = next(chunks, None)
        if chunk is not None:
            self._file.write(self._size_bytes, chunk)
            self._size_bytes += len(chunk)
            self._after(SLICE_US, self._write_slice, tree, chunks)
            return
        self._tree = None
        self._file.sync()
        self._file.close()
        self._disk.rename(TEMPORARY, snapshot_name(self._zxid))
        self._disk.sync()
        self._happened("snapshot")
        purge(self._disk, self._disk, _RETAINED)
