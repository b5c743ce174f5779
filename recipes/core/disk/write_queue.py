"""Orders what goes to disk: which entries share a sync, what waits for room, and when to look for room."""

from collections import deque

from recipes.core.disk.jobs import Batch, Look, OperationJob
from recipes.core.disk.replacements import Replacements
from recipes.core.disk.txnlog import RECORD_BYTES
from recipes.core.replication import Entry, InstallSnapshot, Operation, Truncate, Write

_ENTRIES = frozenset((Entry,))


class WriteQueue:
    """Gives out one job at a time. Entries put while a job is under way form one batch.

    `next` returns the job to do now; the caller reports its end with `done`.
    replacements: of the tree; counted here.
    reserve_every_bytes: how much may be written between two attempts to reserve space ahead.
    syncs: batches are synced.
    file_limit_bytes: a batch behind so many bytes of one file begins the next file; 0: no limit.
    logged_bytes: bytes given out in batches so far.

    A batch for which the disk has no room waits, with everything behind it, and is written once there is room. None of
    it has been acknowledged, so nothing acknowledged is lost.
    """

    __slots__ = (
        "_busy", "_file_limit_bytes", "_pending", "_reserve_every_bytes", "_roll_at_bytes", "_syncs",
        "_unreserved_bytes", "_without_room", "logged_bytes", "replacements",
    )  # fmt: skip

    def __init__(
        self,
        replacements: Replacements,
        reserve_every_bytes: int = 1 << 20,
        syncs: bool = True,
        file_limit_bytes: int = 0,
    ) -> None:
        self.replacements: Replacements = replacements
        self.logged_bytes: int = 0
        self._reserve_every_bytes = reserve_every_bytes
        self._unreserved_bytes = reserve_every_bytes  # so that a look for room follows the first batch
        self._syncs = syncs
        self._pending: deque[list[Entry] | Operation] = deque()
        self._file_limit_bytes = file_limit_bytes or 1 << 62
        self._roll_at_bytes = self._file_limit_bytes  # in `logged_bytes`
        self._without_room = False  # the first pending batch does not fit
        self._busy = False

    def put(self, writes: list[Write]) -> None:
        """Add writes at the end. The queue owns the list from then on."""
        if not self._pending and _ENTRIES.issuperset(map(type, writes)):
            self._pending.append(writes)  # type: ignore[arg-type]
            return
        for write in writes:
            if isinstance(write, Entry):
                self._add(write)
            else:
                if isinstance(write, Truncate | InstallSnapshot):
                    self.replacements.count += 1
                    self.replacements.pending += 1
                self._pending.append(write)

    def roll(self) -> None:
        """Let the next batch start a new file."""
        self._roll_at_bytes = -1

    def look_for_room(self) -> None:
        """Make a look for room due; jobs that can be done before it come first."""
        self._unreserved_bytes = self._reserve_every_bytes

    def next(self) -> Batch | OperationJob | Look | None:
        """The job to do now; None while a job is under way, or when there is none."""
        if self._busy:
            return None
        if self._pending and not self._without_room:
            first = self._pending.popleft()
            self._busy = True
            if not isinstance(first, list):
                return OperationJob(first, self.replacements)
            sizes = [len(entry.payload) for entry in first]
            size_bytes = sum(sizes) + RECORD_BYTES * len(first)
            self._unreserved_bytes += size_bytes
            rolls = self.logged_bytes >= self._roll_at_bytes
            if rolls:
                self._roll_at_bytes = self.logged_bytes + self._file_limit_bytes
            self.logged_bytes += size_bytes
            return Batch(first, sizes, rolls, self._syncs)
        if self._unreserved_bytes < self._reserve_every_bytes:
            return None
        # A batch never runs in parallel with a look for room: both write to the end of the same file.
        self._unreserved_bytes = 0
        self._busy = True
        return Look()

    def done(self, job: Batch | OperationJob | Look) -> bool | None:
        """The job under way is done. Returns whether the disk has room, or None if the job does not tell."""
        self._busy = False
        if isinstance(job, Batch):
            if job.fits:
                return None
            self._pending.appendleft(job.entries)
            self._without_room = True
            self._unreserved_bytes = 0  # the next look waits until `look_for_room` is called
            return False
        if isinstance(job, OperationJob):
            self.replacements.pending -= job.replaces
            return None
        if not job.found or not self._without_room:
            return job.found
        # The waiting batch comes first. It may still not fit, so room is reported only after one more look.
        self._without_room = False
        self._unreserved_bytes = self._reserve_every_bytes
        return None

    def _add(self, entry: Entry) -> None:
        pending = self._pending
        if pending and isinstance(last := pending[-1], list):
            last.append(entry)
        else:
            pending.append([entry])
