"""PostgreSQL as a participant: PREPARE TRANSACTION, and COMMIT PREPARED from any connection (psycopg 3).

Source: PostgreSQL's documentation of PREPARE TRANSACTION, of pg_prepared_xacts and of pg_locks; what it leaves unsaid
is in docs/transactions.md, each row shown by a test.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from recipes.core.errors import ConfigError
from recipes.transaction.database import LOCK_SECONDS, Database
from recipes.transaction.guard import ParticipantGuard
from recipes.transaction.participant import BranchId, Prepared
from recipes.transaction.sql import SqlParticipant

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

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


class PostgresParticipant(SqlParticipant):
    """A PostgreSQL database, version 13 or later.

    dsn: as psycopg takes it, "host=... dbname=..."; every process of a fleet reaches the database by its own.
    guard: the table that remembers how branches ended, made where it is missing.

    The server needs max_prepared_transactions above the number of branches that are prepared at a time; by default it
    is 0, and `open` raises ConfigError. Needs the extra `postgres`.
    """

    def __init__(self, dsn: str, *, guard: ParticipantGuard | None = None) -> None:
        def connect() -> "Connection":
            import psycopg

            # Statements that are prepared on a connection would outlive what they were made for.
            return psycopg.connect(dsn, connect_timeout=5, prepare_threshold=None)

        super().__init__(connect, _Postgres(), guard)


class _Postgres(Database):
    def check(self, connection: "Connection", guard: ParticipantGuard) -> None:
        found = connection.execute("SHOW max_prepared_transactions").fetchone()
        if found is None or int(found[0]) == 0:
            raise ConfigError(
                "max_prepared_transactions", 0 if found is None else found[0],
                "more than the branches that are prepared at a time; set it in postgresql.conf and restart",
                source=connection.info.host,
            )  # fmt: skip

    def for_statements(self, connection: "Connection") -> None:
        connection.autocommit = True

    def begin(self, connection: "Connection", branch: BranchId) -> None:
        connection.autocommit = False

    def is_sound(self, connection: "Connection") -> bool:
        from psycopg.pq import TransactionStatus

        return connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.IDLE)

    def check_constraints(self, connection: "Connection") -> None:
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def has_changed(self, connection: "Connection") -> bool:
        found = connection.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
        return found is not None and found[0] is not None

    def prepare(self, connection: "Connection", branch: BranchId) -> bool:
        # Of a transaction that has failed the server makes a ROLLBACK, and says so in its answer's tag alone.
        return connection.execute(f"PREPARE TRANSACTION '{branch}'").statusmessage == "PREPARE TRANSACTION"

    def commit(self, connection: "Connection", branch: BranchId) -> bool:
        return self._finish(connection, f"COMMIT PREPARED '{branch}'")

    def rollback(self, connection: "Connection", branch: BranchId) -> bool:
        return self._finish(connection, f"ROLLBACK PREPARED '{branch}'")

    def _finish(self, connection: "Connection", statement: Any) -> bool:
        import psycopg

        with suppress(psycopg.errors.UndefinedObject):
            connection.execute(statement)
            return True
        return False

    def recover(self, connection: "Connection") -> list[BranchId]:
        rows = connection.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE 'recipes:%'"
        ).fetchall()
        return [found for (gid,) in rows if (found := BranchId.parse(gid)) is not None]

    def prepared(self, connection: "Connection", guard: ParticipantGuard) -> list[Prepared]:
        rows = connection.execute(_PREPARED).fetchall()
        return [Prepared(gid, BranchId.parse(gid), max(0.0, age), tuple(locks)) for gid, age, locks in rows]

    def limit_waiting(self, connection: "Connection") -> None:
        connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")

    def wait_as_usual(self, connection: "Connection") -> None:
        connection.execute("RESET lock_timeout")

    def is_locked(self, error: Exception) -> bool:
        import psycopg

        return isinstance(error, psycopg.errors.LockNotAvailable)

    def interrupt(self, connection: "Connection", other: "Connection") -> None:
        connection.cancel_safe(timeout=LOCK_SECONDS)
