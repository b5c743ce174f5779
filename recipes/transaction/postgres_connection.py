"""Connections to PostgreSQL (psycopg 3) that wait in anyio's event loop, so that they work on asyncio and on trio.

psycopg's own asynchronous connections wait on asyncio only; these use a thread only to connect. A cancelled wait closes
the connection, since the outcome of the statement is unknown. The server is also asked to cancel the statement, so that
it does not hold its locks until it ends by itself.
"""

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
import psycopg
import psycopg.rows
from psycopg import generators
from psycopg.pq import ExecStatus, PollingStatus
from psycopg.waiting import Ready, Wait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGresult

R = TypeVar("R")

_CONNECT_SECONDS = 5
_BREAK_OFF_SECONDS = 1.0


class PostgresConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection that commits each statement by itself, unless BEGIN was one. Made by `open`."""

    _opened: psycopg.Connection[tuple[Any, ...]]
    _may_end = True  # whether the statement under way may be cancelled at the server

    @classmethod
    async def open(cls, dsn: str) -> "PostgresConnection":
        """Connect, in a thread. Raises psycopg.Error."""

        made: list[psycopg.Connection[tuple[Any, ...]]] = []
        unwanted = False

        def connect() -> None:
            # No prepared statements: they would outlive the work that they were made for.
            made.append(psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECT_SECONDS, prepare_threshold=None))
            if unwanted:
                close()

        def close() -> None:
            with suppress(IndexError):  # the other thread has closed it
                made.pop().close()

        try:
            await anyio.to_thread.run_sync(connect, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            unwanted = True
            close()
            raise
        opened = made.pop()
        connection = cls(opened.pgconn, row_factory=psycopg.rows.tuple_row)
        connection._opened = opened  # it would warn if it were collected before its socket is closed
        connection._autocommit = True
        connection.prepare_threshold = None
        # psycopg's own lock is asyncio's.
        connection.lock = anyio.Lock(fast_acquire=True)  # type: ignore[assignment]
        return connection

    async def run(self, sql: str, *, may_end: bool = True) -> "Sequence[PGresult]":
        """Run statements without parameters, in one message; return the result of each. Cheaper than `execute`, which
        runs the user's statements. may_end: whether the server is asked to cancel them when the caller is cancelled.
        Raises psycopg.Error."""
        async with self.lock:
            self._may_end = may_end
            try:
                self.pgconn.send_query(sql.encode())
                results = await self.wait(generators.execute(self.pgconn))
            finally:
                self._may_end = True
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result)
        return results  # type: ignore[no-any-return]

    async def wait(self, gen: "PQGen[R]", *_limits: object, **_named: object) -> R:
        """Drive a generator of psycopg's protocol, which yields what it waits for. The caller sets time limits."""
        try:
            wanted = next(gen)
            while True:
                wanted = gen.send(await self._ready(wanted))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except anyio.ClosedResourceError as error:
            raise psycopg.OperationalError("the connection was closed meanwhile") from error
        except anyio.get_cancelled_exc_class():
            await self._break_off()
            raise

    async def _ready(self, wanted: Wait) -> Ready:
        file = self.pgconn.socket
        if wanted == Wait.R:
            await anyio.wait_readable(file)
            return Ready.R
        if wanted == Wait.W:
            await anyio.wait_writable(file)
            return Ready.W
        ready = Ready.NONE
        closed: list[anyio.ClosedResourceError] = []  # raised after the task group, which would wrap it in a group

        async def until(state: Ready) -> None:
            nonlocal ready
            try:
                await (anyio.wait_readable(file) if state == Ready.R else anyio.wait_writable(file))
                ready = Ready(ready | state)
            except anyio.ClosedResourceError as error:
                closed.append(error)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(until, Ready.R)
            group.start_soon(until, Ready.W)
        if closed:
            raise closed[0]
        return ready

    async def _break_off(self) -> None:
        if self.closed:
            return
        # libpq's older way of cancelling blocks the whole process.
        if not self._may_end or not psycopg.capabilities.has_cancel_safe():
            self.drop()
            return
        cancel = self.pgconn.cancel_conn()
        self.drop()
        with anyio.move_on_after(_BREAK_OFF_SECONDS, shield=True), suppress(psycopg.Error, OSError):
            cancel.start()
            while (status := cancel.poll()) in (PollingStatus.READING, PollingStatus.WRITING):
                wait = anyio.wait_readable if status == PollingStatus.READING else anyio.wait_writable
                await wait(cancel.socket)
        cancel.finish()

    def drop(self) -> None:
        """Close the connection at once. A task that waits for an answer on it gets an error."""
        if not self.closed:
            anyio.notify_closing(self.pgconn.socket)
            self._closed = True
            self.pgconn.finish()


class PostgresConnections:
    """A pool of connections to one database.

    most_idle: how many unused connections stay open.
    """

    def __init__(self, dsn: str, most_idle: int) -> None:
        self._dsn = dsn
        self._most_idle = most_idle
        self._idle: deque[PostgresConnection] = deque()
        self._closed = False

    async def take(self) -> tuple[PostgresConnection, bool]:
        """A connection, and whether it was used before: the server may have closed it since."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection, True
        return await PostgresConnection.open(self._dsn), False

    def give_back(self, connection: PostgresConnection) -> None:
        """Return a connection, which must not be in a transaction."""
        if len(self._idle) < self._most_idle and not self._closed and not connection.closed:
            self._idle.append(connection)
        else:
            connection.drop()

    def give_up(self, connection: PostgresConnection) -> None:
        """Close a connection that failed. If the server closed it, close the unused ones, too."""
        if connection.broken:
            self._drop_idle()
        connection.drop()

    def close(self) -> None:
        """Close the unused connections, and from now on each one that is given back."""
        self._closed = True
        self._drop_idle()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().drop()
