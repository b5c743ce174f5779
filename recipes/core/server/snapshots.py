"""Snapshots while the server goes on: a few slices per tick on the loop, the sync and the purge beside it."""

import asyncio
import gc
import logging
from collections.abc import Iterator
from random import SystemRandom
from time import perf_counter

from recipes.core.disk.disk import Disk, File
from recipes.core.disk.recovery import TEMPORARY, purge
from recipes.core.disk.snapshot import snapshot_name, write_snapshot
from recipes.core.errors import invariant
from recipes.core.server.replacements import Replacements
from recipes.core.tree.tree import DataTree

log: logging.Logger = logging.getLogger("recipes.server")

_SLICE_LIMIT_S = 0.005
_LOG_TO_SNAPSHOT = 2  # so much larger is the log behind a snapshot to become, before the next one is worth its time


class Snapshots:
    """Says when a snapshot is due, and writes it.

    snap_count: txns between snapshots, at least; the real number is random between half of it and all, so that the
        servers of an ensemble do not all write at once. Of a large tree they come less often: no sooner than what a
        restart replays is twice as large as what it loads, so that writing them takes but a part of the time.
    replacements: of the tree; a snapshot begun before one of them is never finished after it.
    """

    def __init__(self, snapshots: Disk, logs: Disk, snap_count: int, replacements: Replacements) -> None:
        self._snapshots = snapshots
        self._logs = logs
        self._snap_count = snap_count
        self._replacements = replacements
        self._begun_under = 0
        self._txns = 0
        self._logged_bytes = 0  # when the last one was begun
        self._due_after = self._draw()
        self._zxid = 0
        self._chunks: Iterator[bytes] | None = None
        self._file: File
        self._size_bytes = 0
        self._finishing: asyncio.Future[bool] | None = None

    @property
    def writing(self) -> bool:
        """Whether there are slices to write."""
        return self._chunks is not None

    def is_due(self, txns: int, logged_bytes: int) -> bool:
        """So many more txns were logged: whether it is time, no snapshot is under way and the tree is not replaced.

        logged_bytes: how much there has been altogether.
        """
        self._txns += txns
        if self._txns < self._due_after or self._replacements.pending:
            return False
        if logged_bytes - self._logged_bytes < _LOG_TO_SNAPSHOT * self._size_bytes:
            return False
        return self._chunks is None and self._finishing is None

    def begin(self, tree: DataTree, logged_bytes: int) -> None:
        """Start a snapshot of the tree as it is now. The log must be rolled with it."""
        invariant(not self._replacements.pending, "a snapshot of a tree that is being replaced")
        self._txns, self._logged_bytes, self._due_after = 0, logged_bytes, self._draw()
        try:
            self._file = self._snapshots.create(TEMPORARY)
        except OSError as error:
            log.error("snapshot 0x%x was not begun: %s", tree.last_zxid, error)  # noqa: TRY400
            self._size_bytes = 0  # so that the next attempt need not wait for more than its txns
            return
        self._begun_under = self._replacements.count
        self._zxid, self._chunks, self._size_bytes = tree.last_zxid, write_snapshot(tree), 0

    def abandon(self) -> None:
        """Drop the snapshot under way: its tree is no longer this server's."""
        if self._chunks is not None:
            self._chunks = None
            self._file.close()

    def step(self) -> None:
        """Write slices for at most 5 ms."""
        if self._begun_under != self._replacements.count:
            self.abandon()
        if self._chunks is None:
            return
        until = perf_counter() + _SLICE_LIMIT_S
        try:
            for chunk in self._chunks:
                self._file.write(self._size_bytes, chunk)
                self._size_bytes += len(chunk)
                if perf_counter() >= until:
                    return
        except OSError as error:
            self._give_up(error)
            return
        self._chunks = None
        gc.freeze()
        self._finishing = asyncio.get_running_loop().run_in_executor(
            None, self._finish, self._file, self._zxid, self._begun_under
        )
        self._finishing.add_done_callback(self._finished)

    def purge(self, retain: int) -> asyncio.Future[list[str]]:
        """Remove what the newest `retain` snapshots do not need, in a thread."""
        return asyncio.get_running_loop().run_in_executor(None, self._purge, retain)

    async def close(self) -> None:
        """Wait for a snapshot that is nearly there, drop one that is not."""
        if self._finishing is not None:
            await asyncio.wait([self._finishing])
        self.abandon()

    def _finish(self, file: File, zxid: int, begun_under: int) -> bool:
        file.sync()
        file.close()
        with self._replacements.lock:
            if begun_under != self._replacements.count:
                return False
            self._snapshots.rename(TEMPORARY, snapshot_name(zxid))
            self._snapshots.sync()
            return True

    def _purge(self, retain: int) -> list[str]:
        with self._replacements.lock:
            return purge(self._snapshots, self._logs, retain)

    def _finished(self, finishing: asyncio.Future[bool]) -> None:
        self._finishing = None
        error = finishing.exception()
        if error is None and not finishing.result():
            log.info("snapshot 0x%x was dropped: the tree has been replaced", self._zxid)
        elif error is None:
            log.info("wrote snapshot 0x%x, %s bytes", self._zxid, self._size_bytes)
        else:
            log.error("snapshot 0x%x was not written: %s", self._zxid, error)
            self._size_bytes = 0

    def _give_up(self, error: OSError) -> None:
        # Without it the log only grows: everything that was accepted stays where it is.
        log.error("snapshot 0x%x was not written: %s", self._zxid, error)
        self._chunks = None
        self._size_bytes = 0
        self._file.close()

    def _draw(self) -> int:
        half = self._snap_count // 2
        return half + SystemRandom().randrange(max(1, half))
