"""A participant for any database whose driver has the two-phase extension of PEP 249.

The driver runs in threads, so that this works on asyncio and on trio. The guard's row, written in the branch's own
transaction, proves the outcome of the branch. The differences between drivers are in a `Database` (database.py).

Source: PEP 249, Optional Two-Phase Commit Extensions.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from recipes.core.errors import ConfigError
from recipes.transaction.branch import Answer
from recipes.transaction.connections import Connections
from recipes.transaction.database import Database, Together, check_id
from recipes.transaction.guard import COMMIT, GuardRow, ParticipantGuard
from recipes.transaction.participant import BranchId, Prepared
from recipes.transaction.sql import SqlBranch, Work

R = TypeVar("R")

_INTERRUPT_SECONDS = 2.0  # for an interrupted statement to end
_THREADS = 40  # of one participant: a database that hangs takes no threads from others
_EXTENSION = ("xid", "tpc_begin", "tpc_prepare", "tpc_commit", "tpc_rollback", "tpc_recover", "Error", "IntegrityError")


class TpcParticipant:
    """A database by any driver that has the two-phase extension of PEP 249.

    connect: opens a connection, `lambda: mariadb.connect(host=..., database=...)`; called in threads; one
        thread at a time uses a connection. guard: the table that remembers how branches ended, made where it is
        missing; its statements have parameters as %s.

    Entering the coordinator's block raises ConfigError for a driver that lacks the extension, such as sqlite3.
    For PostgreSQL, PostgresParticipant is faster: it needs no threads, and uses its connections again.
    """

    def __init__(self, connect: Callable[[], Any], *, guard: ParticipantGuard | None = None) -> None:
        self._known = False

        def open_one() -> Any:
            connection = connect()
            if not self._known:
                self._database = _kind(connection)
                self._known = True
            return connection

        self._database = Database()
        self._connections = Connections(open_one, lambda: self._database)
        self._guard = guard or ParticipantGuard()
        self._working: dict[BranchId, Work] = {}
        self._forgotten = Together(self.forget_all)
        self._lock = threading.Lock()
        self._limiter = anyio.CapacityLimiter(_THREADS)

    async def open(self) -> None:
        """Check that the server can prepare transactions, and make the guard's table.

        Raises ConfigError, and the driver's error when the server cannot be reached.
        """

        def check() -> None:
            with self._connections.one() as connection:
                for last_try in (False, False, True):
                    try:  # first: CREATE TABLE needs rights even if the table exists
                        self._guard.read(connection.cursor(), "")
                        break
                    except connection.Error:
                        connection.rollback()
                    try:
                        self._guard.create(connection.cursor(), self._database.key_type)
                        connection.commit()
                    except connection.Error:
                        connection.rollback()
                        if last_try:  # before that, another process may have made it at this moment
                            raise
                self._database.check(connection, self._guard)

        await self._in_thread(check)

    async def aclose(self) -> None:
        """Close the connections that are kept, and those of branches that are at work."""

        def close() -> None:
            self._connections.close()
            for branch in list(self._working):
                self._end_work(branch)

        await self._in_thread(close)

    async def begin(self, branch: BranchId) -> SqlBranch:
        """Begin a database transaction for the branch."""
        check_id(branch)
        wanted = True

        def start() -> Work:
            connection = self._connections.take()
            try:
                self._database.begin(connection, branch)
            except BaseException:
                connection.close()
                raise
            work = Work(connection)
            with self._lock:
                if wanted and not self._connections.closed:
                    self._working[branch] = work
                    return work
            connection.close()
            raise RuntimeError(f"the participant of {branch} is closed")

        work = self._working.get(branch)
        try:
            if work is None:
                work = await self._in_thread(start)
            return SqlBranch(work, self._limiter)
        except BaseException:
            with self._lock:
                wanted = False  # an abort may have come already, and would not come again
            raise

    async def can_commit(self, branch: BranchId) -> Answer:
        """Whether the branch's transaction answers and nobody has aborted it."""

        def check() -> Answer:
            work = self._working.get(check_id(branch))
            if work is None:
                return Answer.REFUSED
            with work.lock:
                if work.over or work.spoilt:
                    return Answer.REFUSED
                if self._guard.read(work.connection.cursor(), str(branch)) is not None:
                    return Answer.REFUSED
            return Answer.PREPARED

        return await self._in_thread(check)

    async def pre_commit(self, branch: BranchId) -> Answer:
        """As `prepare`."""
        return await self.prepare(branch)

    async def prepare(self, branch: BranchId) -> Answer:
        """Prepare the branch's transaction, with the guard's row in it. The vote is given on proof alone."""

        def prepare() -> Answer:
            work = self._working.get(check_id(branch))
            if work is None:
                return self._prepared_before(branch)
            with work.lock:
                if work.over:
                    return self._prepared_before(branch)
                try:
                    answer = self._prepare(work, branch)
                finally:
                    # Close it: a driver may take it for still in the transaction, and a server may hide the prepared
                    # branch from other connections as long as this one is open.
                    work.over = True
                    self._working.pop(branch, None)
                    work.connection.close()
            return self._prepared_before(branch) if answer is None else answer

        return await self._in_thread(prepare)

    def _prepare(self, work: Work, branch: BranchId) -> Answer | None:
        """The vote, None when there is no proof of it yet."""
        connection = work.connection
        if work.spoilt:
            return Answer.REFUSED
        try:
            self._guard.begin(connection.cursor(), str(branch))
        except connection.IntegrityError:  # it was aborted before
            return Answer.REFUSED
        return Answer.PREPARED if self._database.prepare(connection, branch) else None

    async def commit(self, branch: BranchId) -> Answer:
        """Commit what is prepared, or prove by the guard's row that it was done."""

        def commit() -> Answer:
            with self._connections.one() as connection:
                if self._database.commit(connection, check_id(branch)):
                    return Answer.COMMITTED
                row = self._proof(connection, branch)
                if row is None:
                    return Answer.UNKNOWN
                return Answer.COMMITTED if row.outcome == COMMIT else Answer.CONTRADICTION

        return await self._in_thread(commit)

    async def abort(self, branch: BranchId) -> Answer:
        """Roll back the branch, prepared or at work, and leave a row that makes a late prepare fail."""

        def abort() -> Answer:
            if not self._end_work(check_id(branch)):
                return Answer.UNKNOWN  # one of its statements still runs
            with self._connections.one() as connection:
                self._database.rollback(connection, branch)
                self._database.limit_waiting(connection)
                try:
                    self._guard.abort(connection.cursor(), str(branch))
                    connection.commit()
                except connection.IntegrityError:
                    connection.rollback()
                    row = self._proof(connection, branch)
                    if row is None:
                        return Answer.UNKNOWN
                    return Answer.CONTRADICTION if row.outcome == COMMIT else Answer.ABORTED
                except connection.Error as error:
                    if not self._database.is_locked(error):
                        raise
                    connection.rollback()
                    return Answer.UNKNOWN  # it is being prepared now, or is prepared out of our reach
                finally:
                    with suppress(connection.Error):
                        self._database.wait_as_usual(connection)
                return Answer.ABORTED

        try:
            return await self._in_thread(abort)
        except BaseException:
            # Perhaps it was cancelled before its thread began, and nobody asks again: what is at work here ends.
            if branch in self._working:
                threading.Thread(target=self._end_when_free, args=(branch,), daemon=True).start()
            raise

    async def recover(self) -> Sequence[BranchId]:
        """The branches that are prepared, without transactions of other software."""

        def look() -> list[BranchId]:
            with self._connections.one() as connection:
                return self._database.recover(connection)

        return await self._in_thread(look)

    async def prepared(self) -> Sequence[Prepared]:
        """Every prepared transaction of this database, oldest first if it tells their age."""

        def look() -> list[Prepared]:
            with self._connections.one() as connection:
                return self._database.prepared(connection, self._guard)

        return await self._in_thread(look)

    async def marks(self, older: float) -> Sequence[BranchId]:
        """The branches that ended more than `older` seconds ago and still have their row."""

        def look() -> list[BranchId]:
            with self._connections.one() as connection:
                cursor = connection.cursor()
                cursor.execute(self._guard.old_sql(older))
                return [found for (text,) in cursor.fetchall() if (found := BranchId.parse(text)) is not None]

        return await self._in_thread(look)

    async def forget(self, branch: BranchId) -> None:
        """Delete the guard's row, in one statement with the rows of all branches forgotten at the same time."""
        await self._forgotten.add(check_id(branch))

    async def forget_all(self, branches: Sequence[BranchId]) -> None:
        """Delete the guard's rows of these branches in one statement."""
        rows = sorted(str(check_id(each)) for each in branches)

        def forget() -> None:
            with self._connections.one() as connection:
                self._guard.forget(connection.cursor(), *rows)

        await self._in_thread(forget)

    async def _in_thread(self, work: Callable[[], R]) -> R:
        # A cancelled call goes on in its thread. Its vote reaches nobody, and recovery settles the branch.
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)

    def _proof(self, connection: Any, branch: BranchId) -> GuardRow | None:
        """How the branch ended, once that is sure to survive a crash: another process may have ended it just now."""
        row = self._guard.read(connection.cursor(), str(branch))
        if row is not None:
            self._guard.confirm(connection.cursor())
            connection.commit()
        return row

    def _prepared_before(self, branch: BranchId) -> Answer:
        """The answer to a repeated prepare, or to a prepare in a process without the branch's work."""
        with self._connections.one() as connection:
            if branch in self._database.recover(connection):
                return Answer.PREPARED
            ended = self._guard.read(connection.cursor(), str(branch))
            return Answer.COMMITTED if ended is not None and ended.outcome == COMMIT else Answer.REFUSED

    def _end_when_free(self, branch: BranchId) -> None:
        """Close the connection of a branch that is at work, once no statement runs on it."""
        work = self._working.get(branch)
        if work is not None:
            work.doomed = True
            with work.lock, suppress(Exception):  # a connection that is broken is closed, too
                work.end()
            self._working.pop(branch, None)

    def _end_work(self, branch: BranchId) -> bool:
        """Close the connection of a branch that is at work; return whether it has none any more."""
        work = self._working.get(branch)
        if work is None:
            return True
        if not work.lock.acquire(blocking=False):
            # A statement runs: closing its connection now would break the driver.
            work.doomed = True
            with self._connections.one() as other:
                self._database.interrupt(work.connection, other)
            if not work.lock.acquire(timeout=_INTERRUPT_SECONDS):
                return False
        try:
            work.end()
            self._working.pop(branch, None)
        finally:
            work.lock.release()
        return True


def _kind(connection: Any) -> Database:
    """The kind of database behind a connection. Closes it and raises ConfigError if its driver lacks the extension."""
    driver = type(connection).__module__.partition(".")[0]
    if missing := [name for name in _EXTENSION if not hasattr(connection, name)]:
        connection.close()
        raise ConfigError(
            "connect", f"{driver}, a driver without {', '.join(missing)}",
            "one with the two-phase extension of PEP 249, and its exceptions as attributes of a connection",
        )  # fmt: skip
    if driver == "mariadb":
        from recipes.transaction.mariadb import MariaDb

        return MariaDb()
    return Database()
