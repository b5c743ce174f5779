"""PostgreSQL as a participant: PREPARE TRANSACTION, and COMMIT PREPARED from any connection (psycopg 3).

Source: PostgreSQL's documentation of PREPARE TRANSACTION and of pg_prepared_xacts; what it does not say is in
docs/transactions.md, each row shown by a test.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from recipes.core.errors import BadArguments, ConfigError
from recipes.transaction.branch import Answer
from recipes.transaction.database import LOCK_SECONDS, Together, check_id
from recipes.transaction.guard import ABORT, COMMIT, GuardRow, ParticipantGuard
from recipes.transaction.participant import BranchId, Prepared

if TYPE_CHECKING:
    from recipes.transaction.postgres_connection import PostgresConnection, PostgresConnections

_IDLE = 32  # connections kept open
# What DISCARD ALL does, which is allowed only by itself: a branch's settings, session-level locks and cursors must not
# meet the next branch. It goes in one message with the last statement, and has no round trip of its own.
_RESET = (
    "CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DEALLOCATE ALL; UNLISTEN *; DISCARD SEQUENCES;"
    " SELECT pg_advisory_unlock_all()"
)
# Only the role that has prepared a transaction, and a superuser, may end it. Also, a role that the branch has taken may
# lack rights to the guard's table.
_OWN_ROLE = "RESET SESSION AUTHORIZATION; RESET ROLE"
_SCHEMA = b"""
SELECT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s::regclass
"""
_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})

# Locks of a prepared transaction have no pid. They share a virtual transaction id: that of the session that prepared
# it, or -1/<xid> after a restart. Its lock on its own transaction id links them to the row of pg_prepared_xacts.
_PREPARED = b"""
SELECT x.gid, extract(epoch FROM clock_timestamp() - x.prepared)::float8,
    array(
        SELECT DISTINCT l.mode || ' on ' || coalesce(l.relation::regclass::text, l.locktype)
        FROM pg_locks own JOIN pg_locks l ON l.virtualtransaction = own.virtualtransaction AND l.pid IS NULL
        WHERE own.locktype = 'transactionid' AND own.transactionid = x.transaction AND own.pid IS NULL
            AND l.locktype <> 'transactionid'
        ORDER BY 1)
FROM pg_prepared_xacts x WHERE x.database = current_database() ORDER BY x.prepared
"""


class PostgresBranch:
    """What `tx.enlist` returns: the branch's own connection, in a transaction. Its statements run one at a time."""

    def __init__(self, connection: "PostgresConnection") -> None:
        connection.begins = True
        self._connection = connection
        self._changed = False  # rows, as statements report it, or a notification; `_prepare` asks about other changes
        self._failed = False  # a statement has raised, or was cancelled
        self._over = False  # the connection is closed, or in other use

    async def execute(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement, with parameters as %s; return its rows, an empty list if it has none.

        Raises psycopg.Error, and RuntimeError when the branch has ended. After an error, or a statement that was
        cancelled, the branch cannot commit: not even if nothing was sent to the server, which the caller cannot know.
        """
        if self._over:
            raise RuntimeError("the branch has ended: its statements run inside the transaction's block")
        try:
            tags, rows = await self._connection.execute(sql, params)
        except BaseException:
            self._failed = True
            raise
        # A notification alone has no transaction id. The server refuses to prepare one: so none is sent too early.
        self._changed = self._changed or "notify" in sql.lower() or any(map(_tells_a_change, tags))
        return rows

    @property
    def _is_sound(self) -> bool:
        """Whether all that the branch was told is done, and can still commit."""
        return not self._failed and (self._connection.begins or self._connection.is_sound)


class PostgresParticipant:
    """A PostgreSQL database, version 13 or later.

    dsn: as psycopg takes it, "host=... dbname=..."; each process of a fleet may use another one, with the same user,
    since only the user who has prepared a branch may end it. Up to 32 connections are kept open. guard: the table that
    remembers how branches ended, made where it is missing.

    The server needs max_prepared_transactions above the number of branches that are prepared at a time; by default it
    is 0, and `open` raises ConfigError. Needs the extra `postgres`.
    """

    def __init__(self, dsn: str, *, guard: ParticipantGuard | None = None) -> None:
        self._dsn = dsn
        self._guard = guard or ParticipantGuard()
        self._working: dict[BranchId, PostgresBranch] = {}
        self._kept: PostgresConnections | None = None
        self._forgotten = Together(self.forget_all)

    async def open(self) -> None:
        """Check that the server can prepare transactions, and make the guard's table.

        Raises ConfigError, and psycopg.Error when the server cannot be reached.
        """
        async with self._connection() as connection:
            _, ((most,),) = await connection.execute(b"SHOW max_prepared_transactions")
            if int(most) == 0:
                raise ConfigError(
                    "max_prepared_transactions", most,
                    "as many as branches are prepared at a time; set it in postgresql.conf and restart",
                    source=connection.host,
                )  # fmt: skip
        await self._make_table()

    async def _make_table(self) -> None:
        import psycopg

        async with self._connection() as connection:
            try:  # first: CREATE TABLE needs rights even if the table exists
                await self._read(connection, "")
            except psycopg.errors.UndefinedTable:
                try:
                    await connection.run(self._guard.create_sql())
                except (
                    psycopg.errors.UniqueViolation,
                    psycopg.errors.DuplicateTable,
                    psycopg.errors.DuplicateObject,
                ):
                    # IF NOT EXISTS notwithstanding: another process, or another driver, has made it at this moment.
                    await self._read(connection, "")
            if "." not in self._guard.table:  # a branch may set search_path
                _, ((schema,),) = await connection.execute(_SCHEMA, [self._guard.table])
                with suppress(BadArguments):  # the schema's name needs quotation marks
                    self._guard = ParticipantGuard(f"{schema}.{self._guard.table}")

    async def aclose(self) -> None:
        """Close the connections that are kept, and those of branches that are at work."""
        self._connections.close()
        for branch in list(self._working):
            working = self._end_work(branch)
            if working is not None:
                await working._connection.end()

    async def begin(self, branch: BranchId) -> PostgresBranch:
        """Let the branch begin a database transaction, with its first statement: BEGIN has no round trip of its own.

        Raises psycopg.Error when the server cannot be reached. That is asked only if no connection is kept.
        """
        working = self._working.get(check_id(branch))
        if working is None:
            connection = await self._connections.take()
            working = self._working.get(branch)
            if working is None:
                working = self._working[branch] = PostgresBranch(connection)
            else:  # another task was quicker
                self._connections.give_back(connection)
        return working

    async def can_commit(self, branch: BranchId) -> Answer:
        """Whether the branch's transaction is sound. Deferred constraints are checked now."""
        working = self._working.get(check_id(branch))
        if working is None or not working._is_sound:
            return Answer.REFUSED
        if not working._connection.begins:
            await working._connection.run(f"SET CONSTRAINTS ALL IMMEDIATE; {_OWN_ROLE}")
        ended = await self._read(working._connection, str(branch))
        return Answer.PREPARED if ended is None else Answer.REFUSED

    async def pre_commit(self, branch: BranchId) -> Answer:
        """As `prepare`."""
        return await self.prepare(branch)

    async def prepare(self, branch: BranchId) -> Answer:
        """PREPARE TRANSACTION. A vote needs proof: for a transaction that has failed the server does ROLLBACK instead,
        and only the command tag of its answer says so."""
        import psycopg

        working = self._end_work(check_id(branch))
        if working is None:
            return await self._prepared_before(branch)
        connection, answer = working._connection, Answer.REFUSED
        try:
            if working._is_sound:
                answer = await self._prepare(connection, branch, working._changed)
        except psycopg.errors.UniqueViolation as error:
            if error.diag.table_name != self._guard.table.rpartition(".")[2].lower():
                self._connections.give_up(connection)  # a constraint of the user's, which waits for the end
                raise
            # The guard's row is there: it was aborted before.
        except BaseException:  # it counts as UNKNOWN, with the server's words
            self._connections.give_up(connection)
            raise
        if answer is Answer.REFUSED:
            await connection.end()
        else:
            self._connections.give_back(connection)
        return answer

    async def _prepare(self, connection: "PostgresConnection", branch: BranchId, changed: bool) -> Answer:
        if connection.begins:  # no statement has run
            return Answer.READ_ONLY
        if not changed:
            (found,) = await connection.run("SELECT pg_current_xact_id_if_assigned()")
            if found.get_value(0, 0) is None:
                await connection.run(f"COMMIT; {_RESET}")
                return Answer.READ_ONLY
        # One message: if the row exists already, the server does not run the statement that follows.
        row = self._guard.insert_sql % (f"'{branch}'", f"'{COMMIT}'")
        _, _, _, end, *_ = await connection.run(f"{_OWN_ROLE}; {row}; PREPARE TRANSACTION '{branch}'; {_RESET}")
        return Answer.PREPARED if end.command_status == b"PREPARE TRANSACTION" else Answer.REFUSED

    async def commit(self, branch: BranchId) -> Answer:
        """COMMIT PREPARED, or proof by the guard's row that it was done."""
        import psycopg

        async with self._connection() as connection:
            try:
                # Cancelled while it waits for a synchronous standby, it would be committed here, and look committed.
                await connection.run(f"COMMIT PREPARED '{check_id(branch)}'", may_end=False)
            except psycopg.errors.UndefinedObject:
                row = await self._read(connection, str(branch))
                if row is None:
                    return Answer.UNKNOWN
                return Answer.COMMITTED if row.outcome == COMMIT else Answer.CONTRADICTION
            return Answer.COMMITTED

    async def abort(self, branch: BranchId) -> Answer:
        """ROLLBACK PREPARED, or end the open transaction; and insert a row that makes a late prepare fail."""
        import psycopg

        working = self._end_work(check_id(branch))
        if working is not None:
            await working._connection.end()
        async with self._connection() as connection:
            try:
                await connection.run(f"ROLLBACK PREPARED '{branch}'")
            except psycopg.errors.UndefinedObject:
                pass
            mark = self._guard.insert_sql % (f"'{branch}'", f"'{ABORT}'")
            try:
                # The statements of one message are one transaction; both settings hold for it.
                settings = f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'; SET LOCAL synchronous_commit = on"
                await connection.run(f"{settings}; {mark}")
            except psycopg.errors.UniqueViolation:
                row = await self._read(connection, str(branch))
                if row is None:
                    return Answer.UNKNOWN
                return Answer.CONTRADICTION if row.outcome == COMMIT else Answer.ABORTED
            except psycopg.errors.LockNotAvailable:  # it is being prepared just now
                return Answer.UNKNOWN
            return Answer.ABORTED

    async def recover(self) -> Sequence[BranchId]:
        """The branches that are prepared in this database, without transactions of other software."""
        sql = b"SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE 'recipes:%'"
        async with self._connection() as connection:
            _, rows = await connection.execute(sql)
        return [found for (gid,) in rows if (found := BranchId.parse(gid)) is not None]

    async def prepared(self) -> Sequence[Prepared]:
        """Every prepared transaction of this database, oldest first."""
        async with self._connection() as connection:
            _, rows = await connection.execute(_PREPARED)
        return [Prepared(gid, BranchId.parse(gid), max(0.0, age), tuple(locks)) for gid, age, locks in rows]

    async def marks(self, older: float) -> Sequence[BranchId]:
        """The branches that ended more than `older` seconds ago and still have their row."""
        async with self._connection() as connection:
            _, rows = await connection.execute(self._guard.old_sql(older).encode())
        return [found for (text,) in rows if (found := BranchId.parse(text)) is not None]

    async def forget(self, branch: BranchId) -> None:
        """Delete the guard's row, in one statement with the rows of all branches forgotten at the same time."""
        await self._forgotten.add(check_id(branch))

    async def forget_all(self, branches: Sequence[BranchId]) -> None:
        """Delete the guard's rows of these branches in one statement."""
        async with self._connection() as connection:
            forgetting = f"DELETE FROM {self._guard.table} WHERE branch = ANY(%s)"
            await connection.execute(forgetting.encode(), [[str(check_id(each)) for each in branches]])

    def _end_work(self, branch: BranchId) -> PostgresBranch | None:
        """End the branch's work: no statement of it runs any more. The caller owns its connection from now on."""
        working = self._working.pop(branch, None)
        if working is not None:
            working._over = True
        return working

    async def _prepared_before(self, branch: BranchId) -> Answer:
        """The answer to a repeated prepare, or to a prepare in a process without the branch's work."""
        async with self._connection() as connection:
            _, rows = await connection.execute(b"SELECT 1 FROM pg_prepared_xacts WHERE gid = %s", [str(branch)])
            if rows:
                return Answer.PREPARED
            ended = await self._read(connection, str(branch))
            return Answer.COMMITTED if ended is not None and ended.outcome == COMMIT else Answer.REFUSED

    async def _read(self, connection: "PostgresConnection", branch: str) -> GuardRow | None:
        _, rows = await connection.execute(self._guard.read_sql.encode(), [branch])
        return GuardRow(*rows[0]) if rows else None

    @property
    def _connections(self) -> "PostgresConnections":
        if self._kept is None:
            from recipes.transaction.postgres_connection import PostgresConnections  # needs psycopg

            self._kept = PostgresConnections(self._dsn, _IDLE)
        return self._kept

    @asynccontextmanager
    async def _connection(self) -> "AsyncGenerator[PostgresConnection]":
        """A connection that commits each statement. It is given back unless the block raises."""
        connection = await self._connections.take()
        try:
            yield connection
        except BaseException:
            self._connections.give_up(connection)
            raise
        self._connections.give_back(connection)


def _tells_a_change(tag: str) -> bool:
    verb, *counts = tag.split() or [""]
    return verb in _CHANGES and counts[-1:] != ["0"]
