"""Values by key in the files of one directory, and the branches that change them, with a log of redo and undo records.

A branch's records are durable before its values are written to the files, and the files are written before it votes.
The files are made durable when the log is shortened; until then replaying the log writes them again. So after a crash
at any point the values are what the log says.

Source: Mohan et al., ARIES (1992): write-ahead logging, repeating history, undo.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import quote, unquote

from recipes.core.disk.disk import Disk, File
from recipes.core.errors import DiskError
from recipes.transaction.branch import BranchState, Reply, Request
from recipes.transaction.branch_log import HEADER, decode, encode
from recipes.transaction.branches import Branches, Change, PrepareRecord, Work
from recipes.transaction.participant import BranchId, Prepared, Waiting
from recipes.transaction.stages import CommitProtocol

LOG = "log"
_NEW_LOG, _NEW_VALUE = "log-new", "value-new"  # files being written, ignored until they are renamed
_VALUE = "value."


class Asked:
    """One request to a store, and its result. work: of the branch; None if there is none."""

    __slots__ = ("branch", "error", "protocol", "reply", "request", "work")

    def __init__(self, request: Request, branch: BranchId, work: Work[bytes] | None, protocol: CommitProtocol) -> None:
        self.request: Request = request
        self.branch: BranchId = branch
        self.work: Work[bytes] | None = work
        self.protocol: CommitProtocol = protocol
        self.reply: Reply | None = None
        self.error: Exception | None = None


class BranchStore:
    """Values and branches in one directory. One thread uses it at a time; after an error it loads the disk again.

    clock: returns seconds since 1970. compact_bytes: the log is shortened when it is longer than this and than twice
    its necessary content. keep_seconds: how long the marks of aborted branches stay in the log.
    """

    def __init__(
        self, disk: Disk, clock: Callable[[], float], compact_bytes: int, keep_seconds: float = math.inf
    ) -> None:
        self.branches: Branches[bytes] = Branches()
        self._disk = disk
        self._clock = clock
        self._compact_bytes = compact_bytes
        self._keep_seconds = keep_seconds
        self._log: File | None = None
        self._end = self._compact_at = 0
        self._unwritten: dict[str, bytes | None] = {}  # values that are not in their files yet
        self._dirty: set[str] = set()  # names of files that are not durable

    def read(self, key: str) -> bytes | None:
        """The committed value of a key."""
        self.load()
        return self._read(key)

    def keys(self) -> list[str]:
        """The keys that have a committed value, sorted."""
        self.load()
        files = {unquote(name.removeprefix(_VALUE)) for name in self._disk.names() if name.startswith(_VALUE)}
        changing = {key for prepared in self.branches.prepared.values() for key in prepared.redo}
        return sorted(files - changing | {key for key in changing if self._read(key) is not None})

    def waiting(self) -> list[Waiting]:
        """The branches that are prepared."""
        self.load()
        return self.branches.waiting(self._clock())

    def listed(self) -> list[Prepared]:
        """The branches that are prepared, with the keys that they hold."""
        self.load()
        return self.branches.listed(self._clock())

    def load(self) -> None:
        """Read the log, repair what a crash left half done, and shorten the log, unless that was done before.

        Raises DiskError, OSError.
        """
        if self._log is not None:
            return
        names = self._disk.names()
        branches, values = Branches[bytes](), dict[str, bytes | None]()
        if LOG in names:
            for change in decode(LOG, self._disk.read(LOG)):
                values |= _written(change, branches.apply(change))
        elif any(name.startswith(_VALUE) for name in names):
            raise DiskError(f"there are files {_VALUE}* and no file {LOG}: nothing tells which of them were promised")
        self.branches, self._unwritten = branches, values
        for name in {_NEW_LOG, _NEW_VALUE}.intersection(names):
            self._disk.remove(name)
        self._write_values()
        self._compact()

    def serve(self, batch: list[Asked]) -> None:
        """Carry out requests in order. Sets each request's reply, once all changes are durable, or its error."""
        changes, replies = [], []
        try:
            self.load()
            for asked in batch:
                reply, change = self.branches.decide(
                    asked.request, asked.branch, asked.work, self._read, asked.protocol, self._clock()
                )
                if change is not None:
                    self._unwritten |= _written(change, self.branches.apply(change))
                    changes.append(change)
                replies.append(reply)
            if changes and self._log is not None:
                line = encode(changes)
                self._log.write(self._end, line)
                self._log.sync()
                self._end += len(line)
                self._write_values()
        except Exception as error:
            self.close()
            for asked in batch:
                asked.error = error
            return
        for asked, reply in zip(batch, replies, strict=True):
            asked.reply = reply
        if self._end > self._compact_at:
            try:
                self._compact()
            except Exception:  # the replies are valid nevertheless
                self.close()

    def close(self) -> None:
        """Close the log. The state in memory is no longer valid: a failed write or sync may be durable or not."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _read(self, key: str) -> bytes | None:
        for prepared in self.branches.prepared.values():
            if key in prepared.redo:
                return prepared.undo[key]
        if key in self._unwritten:
            return self._unwritten[key]
        try:
            return self._disk.read(_file_name(key))
        except FileNotFoundError:
            return None

    def _write_values(self) -> None:
        for key, value in self._unwritten.items():
            name = _file_name(key)
            if value is None:
                with suppress(FileNotFoundError):
                    self._disk.remove(name)
                self._dirty.discard(name)
                continue
            file = self._disk.create(_NEW_VALUE)
            try:
                file.write(0, value)
            finally:
                file.close()
            self._disk.rename(_NEW_VALUE, name)  # a reader never sees part of a value
            self._dirty.add(name)
        self._unwritten.clear()

    def _compact(self) -> None:
        """Make the files durable, then replace the log with one that holds only the current states."""
        for name in sorted(self._dirty):
            file = self._disk.open(name)
            try:
                file.sync()
            finally:
                file.close()
        self._disk.sync()
        self._dirty.clear()
        self.branches.drop_aborted(self._clock() - self._keep_seconds)
        left = self.branches.all()
        data = HEADER + (encode(left) if left else b"")
        log = self._disk.create(_NEW_LOG)
        try:
            log.write(0, data)
            log.sync()
            self._disk.rename(_NEW_LOG, LOG)
            self._disk.sync()
        except BaseException:
            log.close()
            raise
        self.close()
        self._log, self._end = log, len(data)
        self._compact_at = max(self._compact_bytes, 2 * self._end)


def _file_name(key: str) -> str:
    return _VALUE + quote(key, "")


def _written(change: Change[bytes], before: PrepareRecord[bytes] | None) -> Mapping[str, bytes | None]:
    """What a change writes into the files."""
    if change.prepared is not None:
        return change.prepared.redo
    return before.undo if before is not None and change.state is BranchState.ABORTED else {}
