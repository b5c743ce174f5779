"""What may differ between drivers that have the two-phase extension of PEP 249, and the ids that all databases take.

PEP 249 leaves open how a driver says that it knows no such transaction, and some raise nothing where nothing was
prepared: so what is prepared is read back by `tpc_recover`. Where a driver or its server departs from the extension, it
has a class of its own: mariadb.py.

Source: PEP 249, Optional Two-Phase Commit Extensions; X/Open, Distributed Transaction Processing: the XA Specification
(1991), for ids.
"""

import re
import select
from collections.abc import Callable
from typing import Any

from recipes.core.errors import BadArguments
from recipes.transaction.guard import ParticipantGuard
from recipes.transaction.participant import BranchId, Prepared

FORMAT_ID = 0x52435053  # of ours; below 2^31, above which drivers and servers refuse it
LOCK_SECONDS = 2  # for a lock that a branch of its own id may hold
_PART = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # of a global id: they go into statements as they are
_ID_CHARACTERS = 120  # the guard's column


class Database:
    """A database by its driver: PEP 249 and nothing else. Its methods wait, and raise what the driver raises."""

    key_type: str = "varchar(120)"  # of the guard's column, in which "a" and "A" are two

    def check(self, connection: Any, guard: ParticipantGuard) -> None:
        """Raise ConfigError where the server cannot prepare transactions. The guard's table is there."""

    def is_stale(self, connection: Any) -> bool:
        """Whether the server has closed a connection that was idle; False where the driver shows no socket."""
        if not hasattr(connection, "fileno"):
            return False
        poll = select.poll()
        try:  # nobody has asked, and yet there is something to be read
            poll.register(connection.fileno(), select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError, connection.Error):
            return True

    def for_statements(self, connection: Any) -> None:
        """Make a connection ready for statements outside of a branch."""

    def xid(self, connection: Any, branch: BranchId) -> Any:
        """The driver's own form of an id."""
        return connection.xid(FORMAT_ID, branch.gtrid, branch.participant)

    def begin(self, connection: Any, branch: BranchId) -> None:
        """tpc_begin."""
        connection.tpc_begin(self.xid(connection, branch))

    def prepare(self, connection: Any, branch: BranchId) -> bool | None:
        """Prepare the branch: True is proof that it is prepared, None is none; tpc_prepare proves nothing."""
        connection.tpc_prepare()
        return None

    def commit(self, connection: Any, branch: BranchId) -> bool:
        """Commit by the id: False where nothing of that id is prepared, or nothing that this connection reaches."""
        return self._finish(connection, branch, connection.tpc_commit)

    def rollback(self, connection: Any, branch: BranchId) -> bool:
        """As commit."""
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
        """The branches that are prepared."""
        return [each.ours for each in self._listed(connection) if each.ours is not None]

    def prepared(self, connection: Any, guard: ParticipantGuard) -> list[Prepared]:
        """All that is prepared; tpc_recover tells neither age nor locks."""
        return self._listed(connection)

    def _listed(self, connection: Any) -> list[Prepared]:
        xids = connection.tpc_recover()
        connection.rollback()
        # PEP 249 lets the parts of an id be read by their position.
        ours = [BranchId.parse(f"{xid[1]}:{xid[2]}") if xid[0] == FORMAT_ID else None for xid in xids]
        return [Prepared(str(xid), branch, None, ()) for xid, branch in zip(xids, ours, strict=True)]

    def limit_waiting(self, connection: Any) -> None:
        """From here on a statement waits LOCK_SECONDS for a lock, and then raises what `is_locked` knows."""

    def wait_as_usual(self, connection: Any) -> None:
        """Undo `limit_waiting`."""

    def is_locked(self, error: Exception) -> bool:
        """Whether the statement has waited too long for a lock."""
        return False

    def interrupt(self, connection: Any, other: Any) -> None:
        """Have the statement end that another thread runs on `connection`. other: a connection to do it by."""


def check_id(branch: BranchId) -> BranchId:
    """The id, if every database takes it: XA has 64 bytes for each half, and drivers put it into statements as it is.
    Raises BadArguments."""
    if (
        not _PART.fullmatch(branch.gtrid)
        or not _PART.fullmatch(branch.participant)
        or len(str(branch)) > _ID_CHARACTERS
    ):
        raise BadArguments(
            "",
            f"the branch {branch!r}: expected letters, digits, '_', '.', ':' and '-', at most 64 before the"
            f" participant's name, 64 in it, and {_ID_CHARACTERS} in all",
        )
    return branch
