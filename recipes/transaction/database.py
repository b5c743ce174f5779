"""What may differ between drivers that have the two-phase extension of PEP 249, and the ids that all databases take.

PEP 249 does not say how a driver reports an unknown transaction, and some drivers raise nothing when nothing was
prepared. So the prepared transactions are read back with `tpc_recover`. A driver or server that departs from the
extension has a class of its own: mariadb.py.

Source: PEP 249, Optional Two-Phase Commit Extensions; X/Open, Distributed Transaction Processing: the XA Specification
(1991), for ids.
"""

import re
import select
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any

import anyio.lowlevel

from recipes.core.errors import BadArguments
from recipes.transaction.guard import ParticipantGuard
from recipes.transaction.participant import BranchId, Prepared

FORMAT_ID = 0x52435053  # of our ids; drivers and servers refuse 2^31 and above
LOCK_SECONDS = 2  # to wait for a lock that another transaction of the same branch may hold
_PART = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # half of a global id; it goes into statements unescaped
_ID_CHARACTERS = 120  # width of the guard's column


class Database:
    """A database whose driver does what PEP 249 says. Its methods block, and raise what the driver raises."""

    key_type: str = "varchar(120)"  # type of the guard's column; it must be case-sensitive

    def check(self, connection: Any, guard: ParticipantGuard) -> None:
        """Raise ConfigError if the server cannot prepare transactions. The guard's table exists already."""

    def is_stale(self, connection: Any) -> bool:
        """Whether the server has closed a connection that was idle; False where the driver shows no socket."""
        if not hasattr(connection, "fileno"):
            return False
        poll = select.poll()
        try:  # no request is under way: anything to read means that it is closed
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
        """Call tpc_begin."""
        connection.tpc_begin(self.xid(connection, branch))

    def prepare(self, connection: Any, branch: BranchId) -> bool | None:
        """Prepare the branch. True is proof that it is prepared, None is no proof: tpc_prepare gives none."""
        connection.tpc_prepare()
        return None

    def commit(self, connection: Any, branch: BranchId) -> bool:
        """Commit a prepared branch. False if none of this id is prepared, or this connection cannot reach it."""
        return self._finish(connection, branch, connection.tpc_commit)

    def rollback(self, connection: Any, branch: BranchId) -> bool:
        """Roll back a prepared branch. False as in `commit`."""
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
        """All prepared transactions; tpc_recover gives neither age nor locks."""
        return self._listed(connection)

    def _listed(self, connection: Any) -> list[Prepared]:
        xids = connection.tpc_recover()
        connection.rollback()
        # PEP 249 lets the parts of an id be read by their position.
        ours = [BranchId.parse(f"{xid[1]}:{xid[2]}") if xid[0] == FORMAT_ID else None for xid in xids]
        return [Prepared(str(xid), branch, None, ()) for xid, branch in zip(xids, ours, strict=True)]

    def limit_waiting(self, connection: Any) -> None:
        """Let a statement wait at most LOCK_SECONDS for a lock, then raise an error that `is_locked` recognises."""

    def wait_as_usual(self, connection: Any) -> None:
        """Undo `limit_waiting`."""

    def is_locked(self, error: Exception) -> bool:
        """Whether the error says that a statement has waited too long for a lock."""
        return False

    def interrupt(self, connection: Any, other: Any) -> None:
        """End the statement that another thread runs on `connection`. other: the connection to do it with."""


@lru_cache(maxsize=1024)  # each branch is checked at each request
def check_id(branch: BranchId) -> BranchId:
    """The id, if every database accepts it: XA has 64 bytes for each half, and drivers do not escape it.
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


class Together:
    """Branches that tasks add at the same time go into one call. call: with all of them."""

    def __init__(self, call: Callable[[Sequence[BranchId]], Awaitable[None]]) -> None:
        self._call = call
        self._waiting: list[BranchId] = []

    async def add(self, branch: BranchId) -> None:
        """Add a branch. The first task that goes on makes the call; the others return."""
        self._waiting.append(branch)
        await anyio.lowlevel.checkpoint()
        batch, self._waiting = self._waiting, []
        if batch:
            await self._call(batch)
