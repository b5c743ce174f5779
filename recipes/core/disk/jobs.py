"""What a server's disk has to do, one job at a time: whoever runs a server carries them out as they come.

Each job has two halves, `begin` and `finish`, of which the second makes it durable. A crash between them, or in either,
leaves what recovery can judge.
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
    """What is asked of the disk; Store is one."""

    def append(self, entries: list[Entry]) -> None:
        """Write a batch."""

    def sync(self) -> None:
        """Return once what was appended is durable."""

    def reserve(self) -> bool:
        """Make room ahead of need; False when the disk has none."""

    def roll(self) -> None:
        """Let the next batch start a new file."""

    def carry_out(self, operation: Operation) -> DataTree | None:
        """Do an operation durably; return the new tree where it replaces the old one."""

    def close(self) -> None:
        """Give the file back."""


class Batch:
    """Entries that share one sync. rolls: they start a new log file. syncs: they are to be durable.

    fits: the disk had room for them.
    """

    __slots__ = ("_rolls", "_syncs", "entries", "fits")

    def __init__(self, entries: list[Entry], rolls: bool, syncs: bool) -> None:
        self.entries: list[Entry] = entries
        self.fits: bool = True
        self._rolls = rolls
        self._syncs = syncs

    def begin(self, log: Log) -> None:
        """Append them. Raises OSError where that fails for another reason than that there is no room."""
        if self._rolls:
            log.roll()
        try:
            log.append(self.entries)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self.fits = False

    def finish(self, log: Log) -> None:
        """Sync them. A sync that fails, whatever for, is never taken for a lack of room: it raises OSError."""
        if self.fits and self._syncs:
            log.sync()


class Change:
    """An operation that is no entry. replaces: it replaces the whole tree. tree: by what, once it is done."""

    __slots__ = ("_replacements", "operation", "replaces", "tree")

    def __init__(self, operation: Operation, replacements: Replacements) -> None:
        self.operation: Operation = operation
        self.replaces: bool = isinstance(operation, Truncate | InstallSnapshot)
        self.tree: DataTree | None = None
        self._replacements = replacements

    def begin(self, log: Log) -> None:
        """Nothing: it happens as a whole."""

    def finish(self, log: Log) -> None:
        """Do it. Raises OSError, or DiskError for a snapshot that cannot be read."""
        if not self.replaces:
            log.carry_out(self.operation)
            return
        with self._replacements.lock:
            self.tree = log.carry_out(self.operation)


class Look:
    """A look for room ahead of need. found: there is some."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: bool = False

    def begin(self, log: Log) -> None:
        """Nothing."""

    def finish(self, log: Log) -> None:
        """Fill with zeros what the next batches will need."""
        self.found = log.reserve()


class Naming:
    """A snapshot that is all written: it is made durable and gets its name. It may be done beside the other jobs.

    named: it has its name. It gets none when the tree was replaced since it was begun. error: why it could not be.
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
        """Sync it and give it its name. Without it the log only grows, so an OSError is kept in `error`."""
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


Job = Batch | Change | Look | Naming
