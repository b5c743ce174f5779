"""Writes snapshots while the server works: a few slices at a time, of a tree that may change between them."""

from collections.abc import Callable, Iterator

from recipes.core.disk.disk import Disk, File
from recipes.core.disk.jobs import Naming
from recipes.core.disk.recovery import TEMPORARY, purge
from recipes.core.disk.replacements import Replacements
from recipes.core.disk.snapshot import write_snapshot
from recipes.core.errors import invariant
from recipes.core.tree.tree import DataTree

_SLICE_LIMIT_S = 0.005
_LOG_TO_SNAPSHOT = 2  # take the next snapshot only when the log is this many times larger than the last snapshot


class SnapshotWriter:
    """Says when a snapshot is due, and writes it.

    snap_count: the least number of txns between two snapshots is drawn at random between half of this and all of it,
        so that the servers of an ensemble do not all write at once. Snapshots of a large tree come less often: the log
        behind the last snapshot must also be twice as large as that snapshot, to bound the time spent on writing.
    size_limit_bytes: a snapshot is due, too, once the log behind the last one has between half of this and all of it.
        0: no such limit.
    replayed: txns and bytes behind the last snapshot when the server started: without them a server that is restarted
        often would never write one.
    replacements: of the tree; a snapshot begun before one of them is never finished after it.
    randrange: as random.randrange with one argument. clock: seconds, to limit the time spent on slices.
    log: called with a text for the operator, and whether it is an error.
    """

    def __init__(
        self,
        snapshots: Disk,
        snap_count: int,
        replacements: Replacements,
        *,
        randrange: Callable[[int], int],
        clock: Callable[[], float],
        log: Callable[[str, bool], None],
        size_limit_bytes: int = 0,
        replayed: tuple[int, int] = (0, 0),
    ) -> None:
        self._snapshots = snapshots
        self._snap_count = snap_count
        self._replacements = replacements
        self._randrange = randrange
        self._clock = clock
        self._log = log
        self._begun_under = 0
        self._txns = replayed[0]
        self._logged_bytes = -replayed[1]  # when the last snapshot was begun
        self._size_limit_bytes = size_limit_bytes
        self._due_after = self._draw()
        self._due_at_bytes = self._draw_bytes()
        self._zxid = 0
        self._chunks: Iterator[bytes] | None = None
        self._file: File
        self._size_bytes = 0
        self._naming = False

    @property
    def writing(self) -> bool:
        """Whether there are slices to write."""
        return self._chunks is not None

    @property
    def is_free(self) -> bool:
        """Whether a snapshot may be begun: none is under way, and the tree is not being replaced."""
        return self._chunks is None and not self._naming and not self._replacements.pending

    def is_due(self, txns: int, logged_bytes: int) -> bool:
        """Whether it is time for a snapshot, and one may be begun.

        txns: logged since the last call. logged_bytes: written to the log since the start of the server.
        """
        self._txns += txns
        if logged_bytes >= self._due_at_bytes:
            return self.is_free
        if self._txns < self._due_after:
            return False
        return logged_bytes - self._logged_bytes >= _LOG_TO_SNAPSHOT * self._size_bytes and self.is_free

    def begin(self, tree: DataTree, logged_bytes: int) -> None:
        """Start a snapshot of the tree as it is now. The log must be rolled with it."""
        invariant(self.is_free, "a snapshot beside another one, or of a tree that is being replaced")
        self._txns, self._logged_bytes, self._due_after = 0, logged_bytes, self._draw()
        self._due_at_bytes = self._draw_bytes()
        try:
            self._file = self._snapshots.create(TEMPORARY)
        except OSError as error:
            self._log(f"snapshot 0x{tree.last_zxid:x} was not begun: {error}", True)
            self._size_bytes = 0  # so that only the number of txns delays the next attempt
            return
        self._begun_under = self._replacements.count
        self._zxid, self._chunks, self._size_bytes = tree.last_zxid, write_snapshot(tree), 0

    def abandon(self) -> None:
        """Drop the snapshot under way: its tree is no longer this server's."""
        if self._chunks is not None:
            self._chunks = None
            self._file.close()

    def step(self) -> Naming | None:
        """Write slices for some 5 ms. Once all are written, return the job that is left, to be reported to `done`."""
        if self._begun_under != self._replacements.count:
            self.abandon()
        if self._chunks is None:
            return None
        until = self._clock() + _SLICE_LIMIT_S
        try:
            for chunk in self._chunks:
                self._file.write(self._size_bytes, chunk)
                self._size_bytes += len(chunk)
                if self._clock() >= until:
                    return None
        except OSError as error:
            # Without this snapshot the log only grows; nothing accepted is lost.
            self._log(f"snapshot 0x{self._zxid:x} was not written: {error}", True)
            self._chunks = None
            self._size_bytes = 0
            self._file.close()
            return None
        self._chunks = None
        self._naming = True
        return Naming(self._snapshots, self._file, self._zxid, self._size_bytes, self._replacements, self._begun_under)

    def done(self, job: Naming) -> None:
        """The job that `step` returned is done."""
        self._naming = False
        if job.error is not None:
            self._log(f"snapshot 0x{job.zxid:x} was not written: {job.error}", True)
            self._size_bytes = 0
        elif job.named:
            self._log(f"wrote snapshot 0x{job.zxid:x}, {job.size_bytes} bytes", False)
        else:
            self._log(f"snapshot 0x{job.zxid:x} was dropped: the tree has been replaced", False)

    def purge(self, logs: Disk, retain: int) -> list[str]:
        """Remove files that the newest `retain` snapshots do not need; return the names. Safe to call in a thread."""
        with self._replacements.lock:
            return purge(self._snapshots, logs, retain)

    def _draw_bytes(self) -> int:
        half = self._size_limit_bytes // 2
        return self._logged_bytes + half + self._randrange(half) if half else 1 << 62

    def _draw(self) -> int:
        half = self._snap_count // 2
        return half + self._randrange(max(1, half))
