"""A table beside a participant's data that remembers how each branch ended.

Its row is written in the branch's own database transaction, so it is there exactly when the work is. A repeated request
finds it; an abort that comes before anything was prepared leaves one, which a prepare that comes late runs into.

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
    """SQL for the table; every method takes an open cursor of the DB API (PEP 249, parameters as %s) and waits.

    table: its name, with a schema if need be. It is made by `create`, or by the operator. A participant of your own
    calls `begin` inside the transaction that does the work, before it prepares or commits it.
    """

    def __init__(self, table: str = "recipes_branches") -> None:
        if not _TABLE.fullmatch(table):
            raise BadArguments("", f"table={table!r}: expected a plain SQL name, with a schema before it if need be")
        self.table: str = table
        # For drivers without cursors of the DB API; parameters: (branch, outcome) and (branch,).
        self.insert_sql: str = f"INSERT INTO {table} (branch, outcome) VALUES (%s, %s)"
        self.read_sql: str = f"SELECT branch, outcome FROM {table} WHERE branch = %s"

    def create_sql(self, key_type: str = "varchar(120)") -> str:
        """What makes the table where it is missing. key_type: of the ids, which differ in case: the comparison must not
        be blind to it."""
        return (
            f"CREATE TABLE IF NOT EXISTS {self.table} (branch {key_type} NOT NULL PRIMARY KEY,"
            " outcome varchar(6) NOT NULL, ended timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )

    def create(self, cursor: Any, key_type: str = "varchar(120)") -> None:
        """Make the table where it is missing; see `create_sql`."""
        cursor.execute(self.create_sql(key_type))

    def begin(self, cursor: Any, branch: str) -> None:
        """In the branch's transaction: from its commit on the row says so. Raises the driver's IntegrityError when the
        branch has ended already."""
        self._insert(cursor, branch, COMMIT)

    def abort(self, cursor: Any, branch: str) -> None:
        """In a transaction of its own: nothing will be done for the branch any more. Raises IntegrityError when a row
        is there; waits as long as the branch's own transaction is open."""
        self._insert(cursor, branch, ABORT)

    def read(self, cursor: Any, branch: str) -> GuardRow | None:
        """How the branch ended, None when it has not."""
        cursor.execute(self.read_sql, (branch,))
        row = cursor.fetchone()
        return None if row is None else GuardRow(*row)

    def old_sql(self, seconds: float) -> str:
        """What selects the branches that ended longer ago."""
        ago = f"CURRENT_TIMESTAMP - INTERVAL '{int(seconds)}' SECOND"
        return f"SELECT branch FROM {self.table} WHERE ended < {ago}"

    def confirm(self, cursor: Any) -> None:
        """See to it that what was read survives a crash, from the commit behind this on. Some databases show what is
        committed before it is on disk; a later commit is on disk only with all that came before."""
        mark = f"confirm:{uuid4().hex}"
        self._insert(cursor, mark, ABORT)
        self.forget(cursor, mark)

    def forget(self, cursor: Any, *branches: str) -> None:
        """Nobody will ask about them again."""
        places = ", ".join(["%s"] * len(branches))
        cursor.execute(f"DELETE FROM {self.table} WHERE branch IN ({places})", branches)

    def _insert(self, cursor: Any, branch: str, outcome: str) -> None:
        cursor.execute(self.insert_sql, (branch, outcome))
