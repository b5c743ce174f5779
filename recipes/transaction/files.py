"""Files as a participant: values by key in one directory, changed by transactions, with a log of undo and redo records.

Disk access runs in threads, so that this works on asyncio and on trio. Requests that arrive while another one is being
written are then written together, with one sync.
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
_KEY_BYTES = 240  # of a quoted key: it is part of a file name, which systems limit to 255


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

    directory: made when it is missing. One process at a time has it; others get an error with its pid.
    compact_bytes: the log is shortened when it is longer than this and than twice its necessary content.
    keep_seconds: how long to keep the work of branches that have not voted, and the marks of aborted branches, since
        their coordinator may be gone. A branch whose work was dropped votes no.
    clock: returns seconds since 1970.

    Guarantee: a vote is durable, with its redo and undo records. The next `open` repairs what a crash of the process or
    of the machine left. The files already show the work of branches that have voted and may still abort; `read` returns
    committed values. After a full disk or a failed sync the next call starts again from what the disk
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
        self._working: dict[BranchId, tuple[Work[bytes], float]] = {}  # with the time of its beginning, oldest first
        self._asked: deque[Asked] = deque()  # requests that have not been carried out
        self._closed = False
        self._lock = threading.Lock()

    async def open(self) -> None:
        """Lock the directory, and repair what a crash left. The first request or read does it, too.

        Raises DiskError when another process has the directory, or the log is damaged; nothing is changed then. Raises
        OSError when the disk fails.
        """
        self._closed = False
        await self._with_store(lambda store: None)

    async def aclose(self) -> None:
        """Release the directory until `open` is called again. Raises nothing."""

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
        """The branch's reads and writes. Raises RuntimeError if the branch has voted or ended."""
        if self._store is not None and (state := self._store.branches.states.get(branch)) is not None:
            raise RuntimeError(f"the branch {branch} is {state.name}: its work is over")
        now = self._clock()
        while self._working and next(iter(self._working.values()))[1] < now - self._keep_seconds:
            del self._working[next(iter(self._working))]
        return FileBranch(self, self._working.setdefault(branch, (Work({}, {}), now))[0])

    async def can_commit(self, branch: BranchId) -> Reply:
        """Whether the branch would vote yes now. Raises as `prepare` does."""
        return await self._ask(Request.CAN_COMMIT, branch, self._working.get(branch, _NONE)[0])

    async def prepare(self, branch: BranchId) -> Reply:
        """Write redo and undo records, then the values, and vote. Raises DiskError or OSError, which are no vote."""
        return await self._ask(Request.PREPARE, branch, self._working.pop(branch, _NONE)[0])

    async def pre_commit(self, branch: BranchId) -> Reply:
        """As `prepare`, for three-phase commit; see there."""
        return await self._ask(Request.PREPARE, branch, self._working.pop(branch, _NONE)[0], CommitProtocol.THREE_PHASE)

    async def commit(self, branch: BranchId) -> Reply:
        """Keep the values, and release the keys. Raises as `prepare` does."""
        return await self._ask(Request.COMMIT, branch)

    async def abort(self, branch: BranchId) -> Reply:
        """Restore the values from before, and release the keys. Raises as `prepare` does."""
        self._working.pop(branch, None)
        return await self._ask(Request.ABORT, branch)

    async def forget(self, branch: BranchId) -> Reply:
        """Drop the mark of a branch that has ended. Raises as `prepare` does."""
        return await self._ask(Request.FORGET, branch)

    async def recover(self) -> Sequence[BranchId]:
        """The branches that are prepared and await their outcome. Raises DiskError, OSError."""
        return [each.branch for each in await self.waiting()]

    async def waiting(self) -> Sequence[Waiting]:
        """The prepared branches, with protocol and age. Raises DiskError, OSError."""
        return await self._with_store(lambda store: store.waiting())

    async def prepared(self) -> Sequence[Prepared]:
        """The prepared branches, with age and the keys that each holds. Raises DiskError, OSError."""
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
            # The thread that had the lock before us may have carried out our request with its own.
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
                        self._asked.clear()  # no request of a caller that failed is carried out later
                        raise
                return work(self._store)

        # A cancelled call goes on in its thread. Its vote reaches nobody, and recovery settles the branch.
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
        "", f"the key {key!r}: expected a str of 1 to {_KEY_BYTES} characters; a special one counts as three"
    )
