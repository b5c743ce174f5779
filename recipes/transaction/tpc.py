"""Any database whose driver has the two-phase extension of PEP 249 as a participant.

PEP 249 leaves open how a driver says that it knows no such transaction, and some raise nothing where nothing was
prepared: so what is prepared is read back by `tpc_recover`, and the guard's row tells the rest. Where a driver or its
server departs from the extension, a `Database` of its own has the difference: mariadb.py.

Source: PEP 249, Optional Two-Phase Commit Extensions; X/Open, Distributed Transaction Processing: the XA Specification
(1991), for ids.
"""

from collections.abc import Callable
from typing import Any

from recipes.core.errors import ConfigError
from recipes.transaction.database import Database
from recipes.transaction.guard import ParticipantGuard
from recipes.transaction.participant import BranchId
from recipes.transaction.sql import SqlParticipant

FORMAT_ID = 0x52435053  # of ours; below 2^31, above which drivers and servers refuse it
_EXTENSION = ("xid", "tpc_begin", "tpc_prepare", "tpc_commit", "tpc_rollback", "tpc_recover", "Error", "IntegrityError")


class TpcDatabase(Database):
    """PEP 249 and nothing else."""

    prepares_on = False  # not before its branch has ended, which it may not hear of

    def is_stale(self, connection: Any) -> bool:
        """Looked for where the driver has a socket's number to give, which PEP 249 does not have."""
        return hasattr(connection, "fileno") and super().is_stale(connection)

    def xid(self, connection: Any, branch: BranchId) -> Any:
        """The driver's own form of an id."""
        return connection.xid(FORMAT_ID, branch.gtrid, branch.participant)

    def begin(self, connection: Any, branch: BranchId) -> None:
        """tpc_begin."""
        connection.tpc_begin(self.xid(connection, branch))

    def prepare(self, connection: Any, branch: BranchId) -> bool | None:
        """tpc_prepare, which proves nothing."""
        connection.tpc_prepare()
        return None

    def commit(self, connection: Any, branch: BranchId) -> bool:
        """tpc_commit by the id."""
        return self._finish(connection, branch, connection.tpc_commit)

    def rollback(self, connection: Any, branch: BranchId) -> bool:
        """tpc_rollback by the id."""
        return self._finish(connection, branch, connection.tpc_rollback)

    def _finish(self, connection: Any, branch: BranchId, finish: Callable[[Any], None]) -> bool:
        try:
            finish(self.xid(connection, branch))
        except connection.Error:
            connection.rollback()
            if branch in self.recover(connection):
                raise
            return False
        return True

    def recover(self, connection: Any) -> list[BranchId]:
        """tpc_recover: its ids can be read by position."""
        found = []
        for xid in connection.tpc_recover():
            if xid[0] == FORMAT_ID:
                branch = BranchId.parse(f"{xid[1]}:{xid[2]}")
                if branch is not None:
                    found.append(branch)
        connection.rollback()
        return found


class TpcParticipant(SqlParticipant):
    """A database by any driver that has the two-phase extension of PEP 249.

    connect: opens a connection, `lambda: mariadb.connect(host=..., database=...)`; called in threads, a connection is
        used by one thread at a time. guard: the table that remembers how branches ended, made where it is missing; its
        statements have parameters as %s.

    Entering the coordinator's block raises ConfigError for a driver that lacks the extension, such as sqlite3.
    PostgresParticipant serves PostgreSQL faster: it uses a connection again that has prepared.
    """

    def __init__(self, connect: Callable[[], Any], *, guard: ParticipantGuard | None = None) -> None:
        self._known = False

        def open_one() -> Any:
            connection = connect()
            if not self._known:
                self._database = _kind(connection)
                self._known = True
            return connection

        super().__init__(open_one, TpcDatabase(), guard)


def _kind(connection: Any) -> Database:
    """The kind of database behind a connection. Closes it and raises ConfigError where its driver does not serve."""
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
    return TpcDatabase()
