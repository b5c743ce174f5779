"""A branch at a database, as its block uses it: statements on the branch's own connection, run in threads."""

import threading
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.to_thread


class Work:
    """The connection of a branch that is at work. One thread has it at a time."""

    def __init__(self, connection: Any) -> None:
        self.connection: Any = connection
        self.lock: threading.Lock = threading.Lock()
        self.over: bool = False  # the connection is closed, or in other use
        self.spoilt: bool = False  # a statement was cancelled: its outcome is unknown
        self.doomed: bool = False  # it was aborted while a statement ran: it ends with the statement

    def end(self) -> None:
        """Close the connection, and with it roll back what is not prepared. To be called with the lock."""
        if not self.over:
            self.over = True
            self.connection.close()


class SqlBranch:
    """What `tx.enlist` returns: the branch's own connection, in a transaction. One task uses it at a time."""

    def __init__(self, work: Work, limiter: anyio.CapacityLimiter) -> None:
        self._work = work
        self._limiter = limiter

    async def execute(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement, with parameters in the driver's own style; return its rows, an empty list if it has none.

        Raises the driver's errors, and RuntimeError when the branch has ended. A cancelled statement goes on at the
        server until the branch is aborted: the branch can no longer commit.
        """
        work = self._work

        def run() -> list[tuple[Any, ...]]:
            with work.lock:
                if work.over:
                    raise RuntimeError("the branch has ended: its statements run inside the transaction's block")
                cursor = work.connection.cursor()
                try:
                    if params is None:
                        cursor.execute(sql)
                    else:
                        cursor.execute(sql, params)
                    return list(cursor.fetchall()) if cursor.description else []
                finally:
                    if work.doomed:
                        work.end()
                    else:
                        cursor.close()

        try:
            return await anyio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limiter)
        except Exception:
            raise
        except BaseException:
            work.spoilt = True
            raise
