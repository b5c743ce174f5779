"""Puts what was decided on disk, in order: on the loop while that is cheap, in one thread of its own when it is not.

Which of the two follows from what the last flushes cost: a thread on a fast disk halves the rate of writes, a slow disk
on the loop makes every reader wait.
"""

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import Protocol

from recipes.core.disk.txnlog import NO_SPACE, RECORD_BYTES
from recipes.core.replication import Entry, EpochWrite, Operation, Write
from recipes.core.server.replacements import Replacements
from recipes.core.tree.tree import DataTree

_INLINE_LIMIT_S = 0.001
_ENTRIES = frozenset((Entry,))
_SWITCH_INTERVAL_S = 1e-4  # the finishing thread must get the interpreter from a busy loop


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


class Flusher:
    """Writes what it is given in order, one sync per batch. All methods are called on the loop.

    flushed(zxid): called on the loop once every entry up to zxid is durable.
    written(operation, tree): called on the loop once an operation, and all that was put before it, is durable; tree is
        what the server's becomes, None where it stays. Only a member of an ensemble has operations.
    room(found): called on the loop after each look for room ahead, and when the disk has none for a batch. Such a batch
        waits, with all behind it, and is written once room is found: nobody has been told of it, so none of it is lost.
    failed(error): called on the loop, once, when bytes that were accepted cannot be made durable, or one of the three
        above fails. Nothing is written after that: a failed fsync may have dropped the pages, so trying again would
        report as durable what is not.
    reserve_every_bytes: how much may be written between two looks for room ahead.
    """

    def __init__(
        self,
        log: Log,
        *,
        flushed: Callable[[int], None],
        written: Callable[[Operation, DataTree | None], None],
        room: Callable[[bool], None],
        failed: Callable[[BaseException], None],
        force_sync: bool = True,
        reserve_every_bytes: int = 1 << 20,
    ) -> None:
        self._log = log
        self._flushed = flushed
        self._room = room
        self._failed = failed
        self._written = written
        self._force_sync = force_sync
        self._reserve_every_bytes = reserve_every_bytes
        self._unreserved_bytes = reserve_every_bytes  # so that the first batch is followed by a look
        self._loop = asyncio.get_running_loop()
        self._pending: deque[list[Entry] | Operation] = deque()
        self._roll_due = False
        self._broken = False
        self._without_room = False  # what is pending does not fit
        self._busy = False
        self._cost_s = 0.0
        self._thread: threading.Thread | None = None
        self._jobs: SimpleQueue[Callable[[], Callable[[], None]] | None] = SimpleQueue()
        self.batches: int = 0
        self.batches_in_thread: int = 0
        self.logged_bytes: int = 0
        self.replacements: Replacements = Replacements()

    def put(self, writes: Sequence[Write]) -> None:
        """Put writes on disk, behind all that came before."""
        if _ENTRIES.issuperset(map(type, writes)):
            self._add(writes)  # type: ignore[arg-type]
        else:
            for write in writes:
                if isinstance(write, Entry):
                    self._add((write,))
                    continue
                if not isinstance(write, EpochWrite):
                    self.replacements.count += 1
                    self.replacements.pending += 1
                self._pending.append(write)
        if not self._busy:
            self._next()

    def roll(self) -> None:
        """Let the next batch start a new file."""
        self._roll_due = True

    def look_for_room(self) -> None:
        """Make room ahead now, unless the thread has something to do: then it is looked for after that."""
        self._unreserved_bytes = self._reserve_every_bytes
        if not self._busy:
            self._next()

    def close(self) -> None:
        """Wait for the thread to end, then give the file back."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
        if not self._broken:
            self._log.close()

    def _add(self, entries: Sequence[Entry]) -> None:
        pending = self._pending
        if pending and isinstance(last := pending[-1], list):
            last += entries
        elif entries:
            pending.append(list(entries))

    def _next(self) -> None:
        """Do the next thing there is to do."""
        while self._pending and not (self._broken or self._without_room):
            batch = self._pending.popleft()
            if not isinstance(batch, list):
                if isinstance(batch, EpochWrite) and self._cost_s < _INLINE_LIMIT_S:
                    self._write_epoch(batch)
                else:
                    self._in_thread(partial(self._carry_out_and_report, batch))
                if self._busy or self._broken:
                    return
                continue
            size_bytes = sum([len(entry.payload) for entry in batch]) + RECORD_BYTES * len(batch)
            self._unreserved_bytes += size_bytes
            self.logged_bytes += size_bytes
            roll, self._roll_due = self._roll_due, False
            self.batches += 1
            if self._cost_s >= _INLINE_LIMIT_S:
                self.batches_in_thread += 1
                self._in_thread(partial(self._write_and_report, batch, roll))
                return
            try:
                written = self._write(batch, roll)
            except OSError as error:
                self._fail(error)
                return
            self._report(batch, written)
            if self._busy:  # something in what followed was given to the thread
                return
        if self._unreserved_bytes >= self._reserve_every_bytes and not self._broken:
            # Zeros are written by the thread: they would hold up the loop. Batches wait behind them, never beside
            # them, since both write to the end of the same file.
            self._unreserved_bytes = 0
            self._in_thread(self._reserve_and_report)

    def _write(self, batch: list[Entry], roll: bool) -> bool:
        """Put a batch on disk; False when there is no room for it. A sync that fails is never taken for that."""
        begun = perf_counter()
        if roll:
            self._log.roll()
        try:
            self._log.append(batch)
        except OSError as error:
            if error.errno in NO_SPACE:
                return False
            raise
        if self._force_sync:
            self._log.sync()
        self._cost_s += (perf_counter() - begun - self._cost_s) / 8
        return True

    def _write_and_report(self, batch: list[Entry], roll: bool) -> Callable[[], None]:
        return partial(self._report, batch, self._write(batch, roll))

    def _report(self, batch: list[Entry], written: bool) -> None:
        if written:
            self._flushed(batch[-1].zxid)
        else:
            self._pending.appendleft(batch)
            self._without_room = True
            self._unreserved_bytes = 0  # the next look is for who runs the server to ask for, in its own time
            self._room(False)

    def _write_epoch(self, operation: EpochWrite) -> None:
        try:
            self._log.carry_out(operation)
        except OSError as error:
            self._fail(error)
        else:
            self._written(operation, None)

    def _carry_out_and_report(self, operation: Operation) -> Callable[[], None]:
        if isinstance(operation, EpochWrite):
            self._log.carry_out(operation)
            return partial(self._written, operation, None)
        with self.replacements.lock:
            tree = self._log.carry_out(operation)
        return partial(self._replaced, operation, tree)

    def _replaced(self, operation: Operation, tree: DataTree | None) -> None:
        self._written(operation, tree)
        self.replacements.pending -= 1

    def _reserve_and_report(self) -> Callable[[], None]:
        return partial(self._looked, self._log.reserve())

    def _looked(self, found: bool) -> None:
        if found and self._without_room:
            # What waits comes first. It may not fit even so: that there is room is said after one more look.
            self._without_room = False
            self._unreserved_bytes = self._reserve_every_bytes
        else:
            self._room(found)

    def _in_thread(self, job: Callable[[], Callable[[], None]]) -> None:
        self._busy = True
        if self._thread is None:
            sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
            self._thread = threading.Thread(target=self._run, name="recipes-flusher")
            self._thread.start()
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                report = job()
            except BaseException as error:  # whatever it is, the server has to hear of it
                self._tell(partial(self._fail, error))
            else:
                self._tell(partial(self._done, report))

    def _tell(self, what: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:  # the loop is closed: there is nobody left to hear of it
            return

    def _done(self, report: Callable[[], None]) -> None:
        self._busy = False
        try:
            report()
            if not self._busy:
                self._next()
        except Exception as error:
            # On the loop's own, nobody else would stop the server: its tree may have a hole where this was left.
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._broken = True
        self._failed(error)
