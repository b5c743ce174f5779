"""Files as a participant: values by key in one directory, changed by transactions, with a log of undo and redo records.

What waits for the disk does so in threads, so that it serves on asyncio and on trio. Whoever comes while another
request is being written is written together with the next ones, by one sync.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import anyio.to_thread

from recipes.core.disk.disk import RealDisk
from recipes.core.errors import BadArguments
from recipes.transaction.branch import Answer, Reply, Request
from recipes.transaction.branch_store import Asked, BranchStore
from recipes.transaction.branches import Work
from recipes.transaction.participant import BranchId, Waiting
from recipes.transaction.stages import Protocol

R = TypeVar("R")

_KEY_BYTES = 240  # of its file's name, which systems limit to 255


class FileBranch:
    """What `tx.enlist` returns: reads and writes values of the directory. Nothing is written before the branch votes.

    It votes no when a value that it read has changed, or when a key is locked by a branch that has voted.
    """

    def __init__(self, participant: "FileParticipant", work: Work[bytes]) -> None:
        self._participant = participant
        self._work = work

    async def read(self, key: str) -> bytes | None:
        """The value of a key as this branch sees it, None when it has none. Raises DiskError, OSError, BadArguments."""
        if _check_key(key) in self._work.writes:
            return self._work.writes[key]
        found = await self._participant.read(key)
        return self._work.reads.setdefault(key, found)

    def write(self, key: str, value: bytes) -> None:
        """Give a key a value. Raises BadArguments."""
        if not isinstance(value, bytes):
            raise BadArguments("", f"the value of {key!r}: expected bytes, not {type(value).__name__}")
        self._work.writes[_check_key(key)] = value

    def remove(self, key: str) -> None:
        """Take the value of a key away, if it has one. Raises BadArguments."""
        self._work.writes[_check_key(key)] = None


class FileParticipant:
    """Values by key, each in a file `value.KEY` of one directory.

    directory: made when it is missing. One process at a time has it: the others are told the pid of that one.
    compact_bytes: the log is shortened when it is longer than this, and than twice what must stay in it.
    clock: seconds since 1970.

    Guarantee: a vote is durable, with what makes the work and what undoes it; a crash at any point, of the process or
    of the machine, is repaired by the next `open`. The files show the work of branches that have voted and may still
    abort: `read` gives what is committed. After a full disk or a failed sync each call tries again from what the disk
    has. Source: the undo and redo records of two-phase commit; docs/transactions.md, Files.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        compact_bytes: int = 1 << 20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = Path(directory)
        self._compact_bytes = compact_bytes
        self._clock = clock
        self._disk: RealDisk | None = None
        self._store: BranchStore | None = None
        self._working: dict[BranchId, Work[bytes]] = {}
        self._asked: deque[Asked] = deque()  # by requests that have not been carried out
        self._lock = threading.Lock()

    async def open(self) -> None:
        """Take the directory, and repair what a crash left. Once open, it does nothing.

        Raises DiskError when another process has the directory, or its log is damaged: nothing is changed then; OSError
        when the disk fails.
        """

        def open_() -> None:
            with self._lock:
                if self._store is not None:
                    return
                disk = RealDisk(self._directory, what="participant")
                store = BranchStore(disk, self._clock, self._compact_bytes)
                try:
                    store.load()
                except BaseException:
                    disk.close()
                    raise
                self._disk, self._store = disk, store

        await anyio.to_thread.run_sync(open_)

    async def aclose(self) -> None:
        """Let others have the directory. Raises nothing."""

        def close() -> None:
            with self._lock:
                if self._store is not None:
                    self._store.close()
                if self._disk is not None:
                    self._disk.close()
                self._store = self._disk = None
                self._working.clear()

        await anyio.to_thread.run_sync(close)

    async def read(self, key: str) -> bytes | None:
        """The committed value of a key, None when it has none. Raises DiskError, OSError, BadArguments."""
        _check_key(key)
        return await self._with_store(lambda store: store.read(key))

    async def keys(self) -> list[str]:
        """The keys that have a committed value, sorted. Raises DiskError, OSError."""
        return await self._with_store(lambda store: store.keys())

    async def begin(self, branch: BranchId) -> FileBranch:
        """The branch's own reads and writes. Raises nothing."""
        return FileBranch(self, self._working.setdefault(branch, Work({}, {})))

    async def can_commit(self, branch: BranchId) -> Reply:
        """Whether it would vote yes now. Raises as `prepare`."""
        return await self._ask(Request.CAN_COMMIT, branch, self._working.get(branch))

    async def prepare(self, branch: BranchId) -> Reply:
        """Write redo and undo records, then the values, and vote. Raises DiskError, OSError, which vote for nobody."""
        return await self._ask(Request.PREPARE, branch, self._working.pop(branch, None))

    async def pre_commit(self, branch: BranchId) -> Reply:
        """As `prepare`, of a branch that could commit; see there."""
        return await self._ask(Request.PREPARE, branch, self._working.pop(branch, None), Protocol.THREE_PHASE)

    async def commit(self, branch: BranchId) -> Reply:
        """Let the values stand, and release the keys. Raises as `prepare`."""
        return await self._ask(Request.COMMIT, branch)

    async def abort(self, branch: BranchId) -> Reply:
        """Put back what was there before, and release the keys. Raises as `prepare`."""
        self._working.pop(branch, None)
        return await self._ask(Request.ABORT, branch)

    async def forget(self, branch: BranchId) -> Reply:
        """Drop the mark of a branch that has ended. Raises as `prepare`."""
        return await self._ask(Request.FORGET, branch)

    async def recover(self) -> Sequence[BranchId]:
        """The branches that are prepared and await their outcome. Raises DiskError, OSError."""
        return [each.branch for each in await self.waiting()]

    async def waiting(self) -> Sequence[Waiting]:
        """The same, with protocol and age. Raises DiskError, OSError."""
        return await self._with_store(lambda store: store.waiting())

    async def _ask(
        self,
        request: Request,
        branch: BranchId,
        work: Work[bytes] | None = None,
        protocol: Protocol = Protocol.TWO_PHASE,
    ) -> Reply:
        asked = Asked(request, branch, work, protocol)
        self._asked.append(asked)

        def serve(store: BranchStore) -> Reply:
            # Whoever had the lock before may have carried ours out with his own.
            if asked.reply is None and asked.error is None:
                store.serve([self._asked.popleft() for _ in range(len(self._asked))])
            if asked.error is not None:
                raise asked.error
            return asked.reply or Reply(Answer.UNKNOWN)

        return await self._with_store(serve)

    async def _with_store(self, work: Callable[[BranchStore], R]) -> R:
        def run() -> R:
            with self._lock:
                if self._store is None:
                    raise RuntimeError(f"{self._directory}: await open() comes before this, and aclose() after it")
                return work(self._store)

        # A cancelled call goes on in its thread: it ends with a vote that nobody hears, which recovery settles.
        return await anyio.to_thread.run_sync(run, abandon_on_cancel=True)


def _check_key(key: str) -> str:
    try:
        if isinstance(key, str) and 0 < len(quote(key, "")) <= _KEY_BYTES:
            return key
    except UnicodeEncodeError:
        pass
    raise BadArguments(
        "", f"the key {key!r}: expected a str of 1 to {_KEY_BYTES} characters, three for each special one"
    )
