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
from recipes.transaction.participant import BranchId, Prepared, Waiting
from recipes.transaction.stages import CommitProtocol

R = TypeVar("R")

_NONE: tuple[None, float] = (None, 0.0)
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
    keep_seconds: work of branches that do not vote, and marks of those that were aborted, are kept for so long, since
        their coordinator may be gone. A branch whose work is gone votes no.
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
        keep_seconds: float = 86_400.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if compact_bytes < 1 or not keep_seconds > 0:
            given = f"compact_bytes={compact_bytes!r}, keep_seconds={keep_seconds!r}"
            raise BadArguments("", f"{given}: expected numbers above 0")
        self._directory = Path(directory)
        self._compact_bytes = compact_bytes
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._disk: RealDisk | None = None
        self._store: BranchStore | None = None
        self._working: dict[BranchId, tuple[Work[bytes], float]] = {}  # and since when, oldest first
        self._asked: deque[Asked] = deque()  # by requests that have not been carried out
        self._closed = False
        self._lock = threading.Lock()

    async def open(self) -> None:
        """Take the directory, and repair what a crash left; the first call of another method does it too.

        Raises DiskError when another process has the directory, or its log is damaged: nothing is changed then; OSError
        when the disk fails.
        """
        self._closed = False
        await self._with_store(lambda store: None)

    async def aclose(self) -> None:
        """Let others have the directory, until `open`. Raises nothing."""

        def close() -> None:
            with self._lock:
                if self._store is not None:
                    self._store.close()
                if self._disk is not None:
                    self._disk.close()
                self._store = self._disk = None
                self._working.clear()
                self._asked.clear()

        self._closed = True
        await anyio.to_thread.run_sync(close)

    async def read(self, key: str) -> bytes | None:
        """The committed value of a key, None when it has none. Raises DiskError, OSError, BadArguments."""
        _check_key(key)
        return await self._with_store(lambda store: store.read(key))

    async def keys(self) -> list[str]:
        """The keys that have a committed value, sorted. Raises DiskError, OSError."""
        return await self._with_store(lambda store: store.keys())

    async def begin(self, branch: BranchId) -> FileBranch:
        """The branch's own reads and writes. Raises RuntimeError where it has voted or ended: nothing joins it then."""
        if self._store is not None and (state := self._store.branches.states.get(branch)) is not None:
            raise RuntimeError(f"the branch {branch} is {state.name}: its work is over")
        now = self._clock()
        while self._working and next(iter(self._working.values()))[1] < now - self._keep_seconds:
            del self._working[next(iter(self._working))]
        return FileBranch(self, self._working.setdefault(branch, (Work({}, {}), now))[0])

    async def can_commit(self, branch: BranchId) -> Reply:
        """Whether it would vote yes now. Raises as `prepare`."""
        return await self._ask(Request.CAN_COMMIT, branch, self._working.get(branch, _NONE)[0])

    async def prepare(self, branch: BranchId) -> Reply:
        """Write redo and undo records, then the values, and vote. Raises DiskError, OSError, which vote for nobody."""
        return await self._ask(Request.PREPARE, branch, self._working.pop(branch, _NONE)[0])

    async def pre_commit(self, branch: BranchId) -> Reply:
        """As `prepare`, of a branch that could commit; see there."""
        return await self._ask(Request.PREPARE, branch, self._working.pop(branch, _NONE)[0], CommitProtocol.THREE_PHASE)

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

    async def prepared(self) -> Sequence[Prepared]:
        """The same, with age and the keys that each holds. Raises DiskError, OSError."""
        return await self._with_store(lambda store: store.listed())

    async def _ask(
        self,
        request: Request,
        branch: BranchId,
        work: Work[bytes] | None = None,
        protocol: CommitProtocol = CommitProtocol.TWO_PHASE,
    ) -> Reply:
        asked = Asked(request, branch, work, protocol)
        self._asked.append(asked)

        def serve(store: BranchStore) -> Reply:
            # Whoever had the lock before may have carried ours out with his own.
            if asked.reply is None and asked.error is None:
                store.serve([self._asked.popleft() for _ in range(len(self._asked))])
            if asked.error is not None:
                raise asked.error
            return asked.reply or Reply(Answer.UNKNOWN, "the participant was closed meanwhile")

        return await self._with_store(serve)

    async def _with_store(self, work: Callable[[BranchStore], R]) -> R:
        def run() -> R:
            with self._lock:
                if self._store is None:
                    try:
                        self._store = self._open()
                    except BaseException:
                        self._asked.clear()  # each of them is told so, and nothing is done later
                        raise
                return work(self._store)

        # A cancelled call goes on in its thread: it ends with a vote that nobody hears, which recovery settles.
        return await anyio.to_thread.run_sync(run, abandon_on_cancel=True)

    def _open(self) -> BranchStore:
        if self._closed:
            raise RuntimeError(f"{self._directory}: its participant is closed")
        self._disk = RealDisk(self._directory, what="participant")
        store = BranchStore(self._disk, self._clock, self._compact_bytes, self._keep_seconds)
        try:
            store.load()
        except BaseException:
            self._disk.close()
            raise
        return store


def _check_key(key: str) -> str:
    try:
        if isinstance(key, str) and 0 < len(quote(key, "")) <= _KEY_BYTES:
            return key
    except UnicodeEncodeError:
        pass
    raise BadArguments(
        "", f"the key {key!r}: expected a str of 1 to {_KEY_BYTES} characters, three for each special one"
    )
