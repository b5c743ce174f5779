"""MariaDB with its own connector: where the two depart from the two-phase extension of PEP 249.

The connector ends a branch only on the connection that prepared it; other connections need XA statements. The server
hides a prepared branch from other connections as long as the connection that prepared it is open, so that connection is
closed at once.

Source: MariaDB's documentation of XA transactions; what it does not say is in docs/transactions.md.
"""

import re
import time
from typing import Any

from recipes.core.errors import ConfigError
from recipes.transaction.database import FORMAT_ID, LOCK_SECONDS, Database
from recipes.transaction.guard import ParticipantGuard
from recipes.transaction.participant import BranchId, Prepared

_OLDEST = (10, 5)  # older versions lose a prepared branch with its connection
_UNKNOWN_XID = 1397
_ROLLED_BACK = 1402
_LOCKED = 1205
# wait_timeout of a connection that prepares. If the client's machine disappears, the server closes the connection after
# this time, so that others can reach the branch; by default that takes 8 hours.
_SILENT_SECONDS = 5
_CLOSING_SECONDS = 0.5  # of the preparing connection: until then other connections cannot end its branch
_PLAIN = re.compile(rb"[A-Za-z0-9_.:-]*")


class MariaDb(Database):
    """XA statements for prepared branches. All databases of a server share one list of prepared branches."""

    key_type = "varchar(120) CHARACTER SET ascii COLLATE ascii_bin"

    def check(self, connection: Any, guard: ParticipantGuard) -> None:
        """Check the server's version, its durability, and the engine of the guard's table."""
        cursor = connection.cursor()
        cursor.execute("SELECT version(), @@innodb_flush_log_at_trx_commit")
        version, flushed = cursor.fetchone()
        numbers = re.match(r"(\d+)\.(\d+)", version)
        where = f"{connection.server_name}:{connection.server_port}"
        if "mariadb" not in version.lower() or numbers is None or tuple(map(int, numbers.groups())) < _OLDEST:
            raise ConfigError("version", version, "MariaDB 10.5 or later", source=where)
        if flushed != 1:
            raise ConfigError(
                "innodb_flush_log_at_trx_commit", flushed, "1: else a crash may lose prepared transactions",
                source=where,
            )  # fmt: skip
        schema, _, table = guard.table.rpartition(".")
        cursor.execute(
            "SELECT engine FROM information_schema.tables WHERE table_schema = coalesce(%s, database())"
            " AND table_name = %s",
            (schema or None, table),
        )
        engine = cursor.fetchone()
        if engine != ("InnoDB",):
            raise ConfigError(
                f"the engine of {guard.table}",
                engine and engine[0],
                "InnoDB: the row must commit and roll back with the work",
            )

    def for_statements(self, connection: Any) -> None:
        """Set autocommit: without it XA COMMIT of another connection's branch fails with 1400, XAER_OUTSIDE."""
        connection.autocommit = True

    def is_stale(self, connection: Any) -> bool:
        """Whether the server does not answer a ping.

        The connector's socket object must not be touched: when it is collected, it closes its descriptor's
        number, which may be another file's by then.
        """
        try:
            connection.ping()
        except connection.Error:
            return True
        return False

    def prepare(self, connection: Any, branch: BranchId) -> bool:
        """XA END and XA PREPARE. MariaDB reports every failure, so the absence of an error is proof."""
        connection.cursor().execute(f"SET SESSION wait_timeout = {_SILENT_SECONDS}")
        connection.tpc_prepare()
        return True

    def commit(self, connection: Any, branch: BranchId) -> bool:
        """XA COMMIT."""
        return self._xa(connection, branch, "COMMIT")

    def rollback(self, connection: Any, branch: BranchId) -> bool:
        """XA ROLLBACK."""
        return self._xa(connection, branch, "ROLLBACK")

    def _xa(self, connection: Any, branch: BranchId, verb: str) -> bool:
        until = time.monotonic() + _CLOSING_SECONDS
        while True:
            try:
                connection.cursor().execute(f"XA {verb} '{branch.gtrid}','{branch.participant}',{FORMAT_ID}")
            except connection.Error as error:
                if _number(error) == _ROLLED_BACK:
                    return verb == "ROLLBACK"
                if _number(error) != _UNKNOWN_XID:
                    raise
                # The branch is unknown, or the connection that prepared it is still open.
                if time.monotonic() > until or branch not in self.recover(connection):
                    return False
                time.sleep(0.01)
            else:
                return True

    def recover(self, connection: Any) -> list[BranchId]:
        """XA RECOVER; the connector returns its rows unchanged."""
        found = (_branch(*row) for row in connection.tpc_recover())
        return [branch for branch in found if branch is not None]

    def prepared(self, connection: Any, guard: ParticipantGuard) -> list[Prepared]:
        """All prepared transactions. XA RECOVER gives no age; for our branches the guard's row does, read uncommitted.
        The server does not tell which locks a prepared transaction holds."""
        connection.commit()
        cursor = connection.cursor()
        cursor.execute("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
        cursor.execute(f"SELECT branch, timestampdiff(SECOND, ended, current_timestamp) FROM {guard.table}")
        ages = {branch: float(max(0, age)) for branch, age in cursor.fetchall()}
        connection.commit()
        listed = []
        for row in connection.tpc_recover():
            branch = _branch(*row)
            listed.append(Prepared(_in_sql(*row), branch, ages.get(str(branch)), ()))
        return sorted(listed, key=lambda each: (each.age is None, -(each.age or 0.0)))

    def limit_waiting(self, connection: Any) -> None:
        """Limit the wait for row locks."""
        connection.cursor().execute(f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}")

    def wait_as_usual(self, connection: Any) -> None:
        """Restore the server's own limit."""
        connection.cursor().execute("SET SESSION innodb_lock_wait_timeout = DEFAULT")

    def is_locked(self, error: Exception) -> bool:
        """Whether it is error 1205, "Lock wait timeout exceeded"."""
        return _number(error) == _LOCKED

    def interrupt(self, connection: Any, other: Any) -> None:
        """Kill the whole connection: killing only the statement could come when it has ended already."""
        other.cursor().execute(f"KILL CONNECTION {int(connection.connection_id)}")


def _number(error: Exception) -> int | None:
    number = getattr(error, "errno", None)
    return number if isinstance(number, int) else None


def _branch(format_id: int, gtrid_bytes: int, _: int, data: bytes) -> BranchId | None:
    """The branch in a row of XA RECOVER, None for somebody else's."""
    if format_id != FORMAT_ID:
        return None
    text = data.decode("latin-1")
    return BranchId.parse(f"{text[:gtrid_bytes]}:{text[gtrid_bytes:]}")


def _in_sql(format_id: int, gtrid_bytes: int, _: int, data: bytes) -> str:
    """The id in a row of XA RECOVER, as an operator writes it after XA COMMIT."""
    parts = (data[:gtrid_bytes], data[gtrid_bytes:])
    literals = [f"'{part.decode()}'" if _PLAIN.fullmatch(part) else f"X'{part.hex()}'" for part in parts]
    return ",".join([*literals, str(format_id)])
