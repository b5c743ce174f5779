"""The jobs of a server's disk. The shell carries them out one at a time, in order.

Each job has two halves, `begin` and `finish`; the second makes it durable. Recovery can handle a crash in either half
or between them.
"""

from typing import Protocol

from recipes.core.disk.disk import Disk, File
from recipes.core.disk.recovery import TEMPORARY
from recipes.core.disk.replacements import Replacements
from recipes.core.disk.snapshot import snapshot_name
from recipes.core.disk.txnlog import NO_SPACE
from recipes.core.replication import Entry, InstallSnapshot, Operation, Truncate
from recipes.core.tree.tree import DataTree


class Log(Protocol):
    """The disk operations that jobs call; Store implements them."""

    def append(self, entries: list[Entry]) -> None:
        """Write a batch."""

    def sync(self) -> None:
        """Return once everything appended is durable."""

    def reserve(self) -> bool:
        """Reserve space for coming batches; False when the disk has none."""
        ...

    def roll(self) -> None:
        """Let the next batch start a new file."""

    def carry_out(self, operation: Operation) -> DataTree | None:
        """Do an operation durably; return the new tree if the operation replaces the old one."""

    def close(self) -> None:
        """Make everything durable and close the file."""


class Batch:
    """Entries that share one sync.

    sizes: of their payloads, in bytes. rolls: start a new log file with them. syncs: make them durable. fits: the disk
    had room for them.
    """

    __slots__ = ("_rolls", "_syncs", "entries", "fits", "sizes")

    def __init__(self, entries: list[Entry], sizes: list[int], rolls: bool, syncs: bool) -> None:
        self.entries: list[Entry] = entries
        self.sizes: list[int] = sizes
        self.fits: bool = True
        self._rolls = rolls
        self._syncs = syncs

    def begin(self, log: Log) -> None:
        """Append the entries. Clears `fits` if the disk has no room; raises OSError for any other failure."""
        if self._rolls:
            log.roll()
        try:
            log.append(self.entries)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self.fits = False

    def finish(self, log: Log) -> None:
        """Sync the entries. A sync that fails for any reason, even lack of room, raises OSError."""
        if self.fits and self._syncs:
            log.sync()


class OperationJob:
    """An operation that is not an entry.

    replaces: the operation replaces the whole tree. tree: the new tree, once the job is done.
    """

    __slots__ = ("_replacements", "operation", "replaces", "tree")

    def __init__(self, operation: Operation, replacements: Replacements) -> None:
        self.operation: Operation = operation
        self.replaces: bool = isinstance(operation, Truncate | InstallSnapshot)
        self.tree: DataTree | None = None
        self._replacements = replacements

    def begin(self, log: Log) -> None:
        """Nothing: `finish` does all of it."""

    def finish(self, log: Log) -> None:
        """Do the operation durably. Raises OSError, or DiskError for a snapshot that cannot be read."""
        if not self.replaces:
            log.carry_out(self.operation)
            return
        with self._replacements.lock:
            self.tree = log.carry_out(self.operation)


class Look:
    """An attempt to reserve space in the log for coming batches. found: the disk has the space."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: bool = False

    def begin(self, log: Log) -> None:
        """Nothing."""

    def finish(self, log: Log) -> None:
        """Fill with zeros the space that the next batches will need."""
        self.found = log.reserve()


class Naming:
    """Makes a completely written snapshot durable and renames it. May run in parallel with the other jobs.

    named: the snapshot has its name; it gets none if the tree was replaced after the snapshot was begun.
    error: the failure of the sync or of the rename, if there was one.
    """

    __slots__ = ("_begun_under", "_file", "_replacements", "_snapshots", "error", "named", "size_bytes", "zxid")

    def __init__(
        self, snapshots: Disk, file: File, zxid: int, size_bytes: int, replacements: Replacements, begun_under: int
    ) -> None:
        self.zxid: int = zxid
        self.size_bytes: int = size_bytes
        self.named: bool = False
        self.error: OSError | None = None
        self._snapshots = snapshots
        self._file = file
        self._replacements = replacements
        self._begun_under = begun_under

    def begin(self, log: Log) -> None:
        """Nothing."""

    def finish(self, log: Log) -> None:
        """Sync the snapshot and rename it. Keeps an OSError in `error`: without this snapshot the log only grows."""
        try:
            self._file.sync()
            self._file.close()
            with self._replacements.lock:
                if self._begun_under == self._replacements.count:
                    self._snapshots.rename(TEMPORARY, snapshot_name(self.zxid))
                    self._snapshots.sync()
                    self.named = True
        except OSError as error:
            self.error = error


Job = Batch | OperationJob | Look | Naming
