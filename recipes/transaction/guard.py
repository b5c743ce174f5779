"""A table beside a participant's data that remembers how each branch ended.

A branch's row is written in the branch's own database transaction, so the row exists exactly when the work does. A
repeated request finds the row. An abort that arrives before anything was prepared inserts a row, on which a late
prepare then fails.

Source: the "empty rollback" and "hanging" of TCC, Apache Seata's and dtm's documentation; Garcia-Molina and Salem,
Sagas (1987), on repeated steps.
"""

import re
from typing import Any, NamedTuple
from uuid import uuid4

from recipes.core.errors import BadArguments

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}(\.[A-Za-z_][A-Za-z0-9_]{0,40})?")

COMMIT, ABORT = "commit", "abort"


class GuardRow(NamedTuple):
    """How a branch ended. outcome: "commit" or "abort"."""

    branch: str
    outcome: str


class ParticipantGuard:
    """SQL for the table. Methods take an open cursor of the DB API (PEP 249, parameters as %s), and block.

    table: its name, with a schema if need be. `create` makes the table, or the operator does. Your own participant
    calls `begin` in the transaction that does the work, before preparing or committing it.
    """

    def __init__(self, table: str = "recipes_branches") -> None:
        if not _TABLE.fullmatch(table):
            raise BadArguments("", f"table={table!r}: expected a plain SQL name, with a schema before it if need be")
        self.table: str = table
        # For drivers without cursors of the DB API; parameters: (branch, outcome) and (branch,).
        self.insert_sql: str = f"INSERT INTO {table} (branch, outcome) VALUES (%s, %s)"
        self.read_sql: str = f"SELECT branch, outcome FROM {table} WHERE branch = %s"

    def create_sql(self, key_type: str = "varchar(120)") -> str:
        """The statement that makes the table if it is missing. key_type: type of the column of ids; its comparison must
        be case-sensitive."""
        return (
            f"CREATE TABLE IF NOT EXISTS {self.table} (branch {key_type} NOT NULL PRIMARY KEY,"
            " outcome varchar(6) NOT NULL, ended timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )

    def create(self, cursor: Any, key_type: str = "varchar(120)") -> None:
        """Make the table if it is missing; see `create_sql`."""
        cursor.execute(self.create_sql(key_type))

    def begin(self, cursor: Any, branch: str) -> None:
        """Insert the row for "commit", in the branch's own transaction. Raises the driver's IntegrityError if the
        branch has ended already."""
        self._insert(cursor, branch, COMMIT)

    def abort(self, cursor: Any, branch: str) -> None:
        """Insert the row for "abort", in a transaction of its own: a later prepare of the branch fails. Raises
        IntegrityError if a row exists; blocks while the branch's own transaction is open."""
        self._insert(cursor, branch, ABORT)

    def read(self, cursor: Any, branch: str) -> GuardRow | None:
        """How the branch ended, None when it has not."""
        cursor.execute(self.read_sql, (branch,))
        row = cursor.fetchone()
        return None if row is None else GuardRow(*row)

    def old_sql(self, seconds: float) -> str:
        """The statement that selects the branches that ended more than `seconds` ago."""
        ago = f"CURRENT_TIMESTAMP - INTERVAL '{int(seconds)}' SECOND"
        return f"SELECT branch FROM {self.table} WHERE ended < {ago}"

    def confirm(self, cursor: Any) -> None:
        """Insert a row and delete it: once the caller has committed this, what it read before survives a crash. Some
        databases show a commit before it is on disk, but a later commit reaches the disk only after earlier ones."""
        mark = f"confirm:{uuid4().hex}"
        self._insert(cursor, mark, ABORT)
        self.forget(cursor, mark)

    def forget(self, cursor: Any, *branches: str) -> None:
        """Delete the rows of branches that nobody will ask about again."""
        places = ", ".join(["%s"] * len(branches))
        cursor.execute(f"DELETE FROM {self.table} WHERE branch IN ({places})", branches)

    def _insert(self, cursor: Any, branch: str, outcome: str) -> None:
        cursor.execute(self.insert_sql, (branch, outcome))
