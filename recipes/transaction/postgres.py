"""PostgreSQL as a participant: PREPARE TRANSACTION, and COMMIT PREPARED from any connection (psycopg 3).

The driver waits in threads, so that it serves on asyncio and on trio. Source: PostgreSQL's documentation of PREPARE
TRANSACTION and of pg_prepared_xacts; what it leaves unsaid is in docs/transactions.md, each row shown by a test.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from recipes.core.errors import ConfigError
from recipes.transaction.branch import Answer
from recipes.transaction.guard import COMMIT, ParticipantGuard
from recipes.transaction.participant import BranchId, Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

R = TypeVar("R")

_LOCK_MS = 2_000  # for a lock that a branch of its own id may hold
_IDLE = 8  # connections kept open

# Locks of a prepared transaction have no process. Those that belong together have one virtual transaction, of whoever
# prepared it, and after a restart -1/<xid>; the lock on its own transaction id tells which it is.
_PREPARED = """
SELECT x.gid, extract(epoch FROM clock_timestamp() - x.prepared)::float8,
    array(
        SELECT DISTINCT l.mode || ' on ' || coalesce(l.relation::regclass::text, l.locktype)
        FROM pg_locks own JOIN pg_locks l ON l.virtualtransaction = own.virtualtransaction AND l.pid IS NULL
        WHERE own.locktype = 'transactionid' AND own.transactionid = x.transaction AND own.pid IS NULL
            AND l.locktype <> 'transactionid'
        ORDER BY 1)
FROM pg_prepared_xacts x WHERE x.database = current_database() ORDER BY x.prepared
"""


class SqlBranch:
    """What `tx.enlist` returns: the branch's own connection, in a transaction. One task uses it at a time."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection

    async def execute(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement; its rows, empty where it gives none. Raises psycopg.Error; the branch cannot commit then."""

        def run() -> list[tuple[Any, ...]]:
            # The driver's own type wants a literal: statements come from the user's code here.
            cursor = self._connection.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

        return await anyio.to_thread.run_sync(run, abandon_on_cancel=True)


class PostgresParticipant:
    """A PostgreSQL database, version 12 or later.

    dsn: as psycopg takes it, "host=... dbname=..."; every process of a fleet reaches the database by its own.
    guard: the table that remembers how branches ended, made where it is missing.

    The server needs max_prepared_transactions above the number of branches that are prepared at a time; by default it
    is 0, and `open` raises ConfigError. Needs the extra `postgres`.
    """

    def __init__(self, dsn: str, *, guard: ParticipantGuard | None = None) -> None:
        self._dsn = dsn
        self._guard = guard or ParticipantGuard()
        self._working: dict[BranchId, psycopg.Connection[Any]] = {}
        self._idle: deque[psycopg.Connection[Any]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    async def open(self) -> None:
        """Check that the server can prepare transactions, and make the guard's table.

        Raises ConfigError, and psycopg.Error when the server cannot be reached.
        """

        def check() -> None:
            with self._connection() as connection:
                found = connection.execute("SHOW max_prepared_transactions").fetchone()
                if found is None or int(found[0]) == 0:
                    raise ConfigError(
                        "max_prepared_transactions", 0 if found is None else found[0],
                        "more than the branches that are prepared at a time; set it in postgresql.conf and restart",
                        source=connection.info.host,
                    )  # fmt: skip
                self._guard.create(connection.cursor())

        await self._in_thread(check)

    async def aclose(self) -> None:
        """Close the connections that are kept, and those of branches that are at work."""

        def close() -> None:
            with self._lock:
                self._closed = True
                connections = [*self._idle, *self._working.values()]
                self._idle.clear()
                self._working.clear()
            for connection in connections:
                connection.close()

        await anyio.to_thread.run_sync(close)

    async def begin(self, branch: BranchId) -> SqlBranch:
        """A transaction of its own."""

        def start() -> "psycopg.Connection[Any]":
            connection = self._take()
            connection.autocommit = False
            return connection

        if branch not in self._working:
            self._working[branch] = await self._in_thread(start)
        return SqlBranch(self._working[branch])

    async def can_commit(self, branch: BranchId) -> Answer:
        """Whether the branch's transaction is sound: constraints that wait for the end are checked now."""

        def check() -> Answer:
            connection = self._working.get(branch)
            if connection is None or not _is_sound(connection):
                return Answer.REFUSED
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            return Answer.PREPARED

        return await self._in_thread(check)

    async def pre_commit(self, branch: BranchId) -> Answer:
        """As `prepare`."""
        return await self.prepare(branch)

    async def prepare(self, branch: BranchId) -> Answer:
        """PREPARE TRANSACTION. A vote needs proof: of a transaction that has failed the server makes a ROLLBACK of it,
        and says so in its answer's tag alone."""

        def prepare() -> Answer:
            import psycopg

            connection = self._working.pop(branch, None)
            if connection is None:
                return self._prepared_before(branch)
            if not _is_sound(connection):
                connection.close()
                return Answer.REFUSED
            try:
                cursor = connection.cursor()
                changed = cursor.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
                if changed is None or changed[0] is None:
                    connection.commit()
                    self._give_back(connection)
                    return Answer.READ_ONLY
                self._guard.begin(cursor, str(branch))
                cursor.execute(f"PREPARE TRANSACTION '{branch}'")
                if cursor.statusmessage != "PREPARE TRANSACTION":
                    connection.close()
                    return Answer.REFUSED
            except psycopg.errors.UniqueViolation:  # it was aborted before
                connection.close()
                return Answer.REFUSED
            except BaseException:  # it counts as UNKNOWN, with the server's words
                connection.close()
                raise
            self._give_back(connection)
            return Answer.PREPARED

        return await self._in_thread(prepare)

    async def commit(self, branch: BranchId) -> Answer:
        """COMMIT PREPARED, or proof by the guard's row that it was done."""

        def commit() -> Answer:
            import psycopg

            with self._connection() as connection:
                try:
                    connection.execute(f"COMMIT PREPARED '{branch}'")
                except psycopg.errors.UndefinedObject:
                    row = self._guard.read(connection.cursor(), str(branch))
                    if row is None:
                        return Answer.UNKNOWN
                    return Answer.COMMITTED if row.outcome == COMMIT else Answer.CONTRADICTION
                return Answer.COMMITTED

        return await self._in_thread(commit)

    async def abort(self, branch: BranchId) -> Answer:
        """ROLLBACK PREPARED, or the end of the open transaction; and a row that refuses a prepare that comes late."""

        def abort() -> Answer:
            import psycopg

            working = self._working.pop(branch, None)
            if working is not None:
                working.close()
            with self._connection() as connection:
                with suppress(psycopg.errors.UndefinedObject):
                    connection.execute(f"ROLLBACK PREPARED '{branch}'")
                cursor = connection.cursor()
                try:
                    cursor.execute(f"SET lock_timeout = {_LOCK_MS}")
                    self._guard.abort(cursor, str(branch))
                except psycopg.errors.UniqueViolation:
                    row = self._guard.read(cursor, str(branch))
                    if row is None:
                        return Answer.UNKNOWN
                    return Answer.CONTRADICTION if row.outcome == COMMIT else Answer.ABORTED
                except psycopg.errors.LockNotAvailable:  # it is being prepared just now
                    return Answer.UNKNOWN
                finally:
                    with suppress(psycopg.Error):
                        cursor.execute("RESET lock_timeout")
                return Answer.ABORTED

        return await self._in_thread(abort)

    async def recover(self) -> Sequence[BranchId]:
        """The branches that are prepared in this database; other prepared transactions are not ours to name."""

        def look() -> list[BranchId]:
            with self._connection() as connection:
                rows = connection.execute(
                    "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE 'recipes:%'"
                ).fetchall()
            return [found for (gid,) in rows if (found := BranchId.parse(gid)) is not None]

        return await self._in_thread(look)

    async def prepared(self) -> Sequence[Prepared]:
        """Every prepared transaction of this database, oldest first."""

        def look() -> list[Prepared]:
            with self._connection() as connection:
                rows = connection.execute(_PREPARED).fetchall()
            return [Prepared(gid, BranchId.parse(gid), max(0.0, age), tuple(locks)) for gid, age, locks in rows]

        return await self._in_thread(look)

    async def forget(self, branch: BranchId) -> None:
        """Delete the guard's row."""

        def forget() -> None:
            with self._connection() as connection:
                self._guard.forget(connection.cursor(), str(branch))

        await self._in_thread(forget)

    async def _in_thread(self, work: Callable[[], R]) -> R:
        # A cancelled call goes on in its thread: it ends with a vote that nobody hears, which recovery settles.
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)

    def _prepared_before(self, branch: BranchId) -> Answer:
        """The answer to a prepare that is repeated, or comes where the branch's work is not."""
        with self._connection() as connection:
            row = connection.execute("SELECT 1 FROM pg_prepared_xacts WHERE gid = %s", (str(branch),)).fetchone()
            if row is not None:
                return Answer.PREPARED
            ended = self._guard.read(connection.cursor(), str(branch))
            return Answer.COMMITTED if ended is not None and ended.outcome == COMMIT else Answer.REFUSED

    @contextmanager
    def _connection(self) -> "Iterator[psycopg.Connection[Any]]":
        """One that commits each statement, given back unless what is done with it raises."""
        connection = self._take()
        try:
            connection.autocommit = True
            yield connection
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)

    def _take(self) -> "psycopg.Connection[Any]":
        import psycopg

        while True:
            with self._lock:
                connection = self._idle.popleft() if self._idle else None
            if connection is None:
                # Statements that are prepared on a connection would outlive what they were made for.
                return psycopg.connect(self._dsn, connect_timeout=5, prepare_threshold=None)
            if not connection.closed and not connection.broken:
                return connection

    def _give_back(self, connection: "psycopg.Connection[Any]") -> None:
        with self._lock:
            if len(self._idle) < _IDLE and not connection.closed and not self._closed:
                self._idle.append(connection)
                return
        connection.close()


def _is_sound(connection: "psycopg.Connection[Any]") -> bool:
    """Whether its transaction can still commit: PREPARE of one that has failed raises nothing."""
    from psycopg.pq import TransactionStatus

    return connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.IDLE)
