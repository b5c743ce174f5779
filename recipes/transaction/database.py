"""What differs from database to database, for the participants over SQL, and the ids that every one of them takes.

postgres.py, tpc.py and mariadb.py have a `Database` each; sql.py drives it.
"""

import re
import select
from typing import Any

from recipes.core.errors import BadArguments
from recipes.transaction.guard import ParticipantGuard
from recipes.transaction.participant import BranchId, Prepared

LOCK_SECONDS = 2  # for a lock that a branch of its own id may hold
_PART = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # of a global id: they go into statements as they are
_ID_CHARACTERS = 120  # the guard's column


class Database:
    """One kind of database, by one driver. Its methods wait, and raise what the driver raises."""

    key_type: str = "varchar(120)"  # of the guard's column, in which "a" and "A" are two
    prepares_on: bool = True  # whether a connection that has prepared a branch may be used for the next one

    def check(self, connection: Any, guard: ParticipantGuard) -> None:
        """Raise ConfigError where the server cannot prepare transactions. The guard's table is there."""

    def for_statements(self, connection: Any) -> None:
        """Make a connection ready for statements outside of a branch."""

    def is_stale(self, connection: Any) -> bool:
        """Whether the server has closed a connection that was idle."""
        poll = select.poll()
        try:  # nobody has asked, and yet there is something to be read
            poll.register(connection.fileno(), select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError, connection.Error):
            return True

    def begin(self, connection: Any, branch: BranchId) -> None:
        """Begin the branch's transaction."""
        raise NotImplementedError

    def is_sound(self, connection: Any) -> bool:
        """Whether the branch's transaction can still commit, as far as the driver knows."""
        return True

    def check_constraints(self, connection: Any) -> None:
        """Have the constraints checked that would wait for the end."""

    def has_changed(self, connection: Any) -> bool:
        """Whether the branch's transaction may have changed anything."""
        return True

    def prepare(self, connection: Any, branch: BranchId) -> bool | None:
        """Prepare the branch: True is proof that it is prepared, False that it is not; None is no proof."""
        raise NotImplementedError

    def commit(self, connection: Any, branch: BranchId) -> bool:
        """Commit what is prepared, False where nothing of that id is, or nothing that this connection reaches."""
        raise NotImplementedError

    def rollback(self, connection: Any, branch: BranchId) -> bool:
        """As commit."""
        raise NotImplementedError

    def recover(self, connection: Any) -> list[BranchId]:
        """The branches that are prepared."""
        raise NotImplementedError

    def prepared(self, connection: Any, guard: ParticipantGuard) -> list[Prepared]:
        """All that is prepared."""
        raise NotImplementedError(f"{type(self).__name__} does not tell what others have prepared")

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
