"""Connections to PostgreSQL (psycopg 3) that wait in the event loop, so that they work on asyncio and on trio.

psycopg connects, in a thread, and converts parameters and rows. What is in between is here, since psycopg's own
asynchronous connections wait on asyncio only, and since each transaction goes this way several times. A cancelled wait
closes the connection: the outcome of the statement is unknown. The server is also asked to cancel the statement, so
that it does not hold its locks until it ends by itself.
"""

import asyncio
from asyncio.events import _get_running_loop
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import anyio
import anyio.to_thread
import psycopg
from psycopg import generators
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, PollingStatus, TransactionStatus
from psycopg.waiting import Ready, Wait

from recipes.core.client.waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

R = TypeVar("R")

_CONNECT_SECONDS = 5
_BREAK_OFF_SECONDS = 1.0
# Attributes of an Enum class are slow to look up.
_BAD, _IN_TRANSACTION, _ROWS, _READ = ConnStatus.BAD, TransactionStatus.INTRANS, ExecStatus.TUPLES_OK, Wait.R
_READABLE = Ready.R
_WELL = frozenset({ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.EMPTY_QUERY, ExecStatus.PIPELINE_SYNC})


class Answered(NamedTuple):
    """The server's answer. tags: of each statement, such as "UPDATE 3". rows: of the first one."""

    tags: list[str]
    rows: list[tuple[Any, ...]]


class PostgresConnection:
    """A connection that commits each statement by itself, unless it is in a transaction. Made by `open`.

    begins: whether the next `execute` begins a transaction. untried: whether the server has not answered since the
    connection was idle: it may have closed it long ago.
    """

    def __init__(self, opened: "psycopg.Connection[Any]") -> None:
        self.begins: bool = False
        self.untried: bool = False
        self._opened = opened
        self._pgconn: PGconn = opened.pgconn
        self._taken = False  # by a task whose statement is under way
        self._turns: deque[Waiter] = deque()  # of tasks that wait for their turn
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that calls `_heard`
        self._file = -1
        self._answer: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, dsn: str) -> "PostgresConnection":
        """Connect, in a thread. Raises psycopg.Error."""

        made: list[psycopg.Connection[Any]] = []
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
        return cls(made.pop())

    @property
    def host(self) -> str:
        """The server's host, as libpq names it."""
        return self._opened.info.host

    @property
    def closed(self) -> bool:
        """Whether either side has closed it."""
        return self._pgconn.status == _BAD

    @property
    def broken(self) -> bool:
        """Whether it was closed, but not by us."""
        return self._opened.broken

    @property
    def is_sound(self) -> bool:
        """Whether it is in a transaction that can still commit: PREPARE of a failed transaction raises nothing."""
        return self._pgconn.transaction_status == _IN_TRANSACTION

    def is_usable(self) -> bool:
        """Whether it is open, as far as this machine has heard. Asks nobody."""
        if self.closed:
            return False
        try:
            self._pgconn.consume_input()  # the server's last words, perhaps
            self._pgconn.consume_input()  # and after them its end
        except psycopg.Error:
            self.drop()
        return not self.closed

    async def run(self, sql: str) -> "Sequence[PGresult]":
        """Run statements without parameters, in one message; return the result of each. Cheaper than `execute`, which
        runs the user's statements. Raises psycopg.Error."""
        await self._take_turn()
        try:
            self._pgconn.send_query(sql.encode())
            return await self._hear(generators.execute(self._pgconn))
        finally:
            self._end_turn()

    async def execute(self, sql: bytes, params: "Sequence[Any] | None" = None) -> Answered:
        """Run a statement with parameters, or statements without; return the answer. Raises psycopg.Error.

        BEGIN goes in one message with the first statement, if that has parameters, and costs no round trip.
        """
        transformer = Transformer(self._opened)
        query = PostgresQuery(transformer)
        query.convert(sql, params)
        await self._take_turn()
        try:
            begins, self.begins = self.begins, False
            pgconn = self._pgconn
            if begins and query.params:
                pgconn.enter_pipeline_mode()
                pgconn.send_query_params(b"BEGIN", None)
                pgconn.send_query_params(query.query, query.params, query.types, query.formats)
                pgconn.pipeline_sync()
                results = await self._hear(_after_begin(pgconn))
            else:
                if begins:
                    pgconn.send_query(b"BEGIN")
                    await self._hear(generators.execute(pgconn))
                if query.params:
                    pgconn.send_query_params(query.query, query.params, query.types, query.formats)
                else:
                    pgconn.send_query(query.query)
                results = await self._hear(generators.execute(pgconn))
        finally:
            self._end_turn()
        first = results[0]
        rows: list[tuple[Any, ...]] = []
        if first.status == _ROWS:
            transformer.set_pgresult(first)
            rows = transformer.load_rows(0, first.ntuples, tuple)
        return Answered([(result.command_status or b"").decode() for result in results], rows)

    async def _take_turn(self) -> None:
        """Wait until no statement of another task is under way."""
        if not self._taken:
            self._taken = True
            return
        turn = Waiter()
        self._turns.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn in self._turns:
                self._turns.remove(turn)
            else:
                self._end_turn()  # it was ours just now
            raise

    def _end_turn(self) -> None:
        if self._turns:
            self._turns.popleft().set()
        else:
            self._taken = False

    async def _hear(self, gen: "PQGen[list[PGresult]]") -> "list[PGresult]":
        """The results of what was sent. Raises the first error among them."""
        try:
            results = await self._wait(gen)
            if not results:
                raise psycopg.InternalError("the server has not answered the statement")
            self.untried = self.untried and self.closed
            for result in results:
                if result.status not in _WELL:
                    raise self._error(result)
        except psycopg.Error:
            if self.closed:
                self._unwatch()  # libpq has closed the socket: the next one may have its number
            raise
        return results

    def _error(self, result: "PGresult") -> psycopg.Error:
        if result.status == ExecStatus.FATAL_ERROR:
            return psycopg.errors.error_from_result(result, self._opened.info.encoding)
        self._close()  # in the middle of a COPY
        return psycopg.ProgrammingError(f"{ExecStatus(result.status).name} is no result of a statement of a branch")

    async def _wait(self, gen: "PQGen[R]") -> R:
        """Drive a generator of psycopg's protocol, which yields what it waits for. The caller sets time limits."""
        try:
            wanted = next(gen)
            while True:
                if wanted == _READ:
                    await self._wait_readable()
                    wanted = gen.send(_READABLE)
                else:
                    self._unwatch()  # anyio watches the same socket now
                    wanted = gen.send(await _wait_either(self._pgconn.socket, wanted))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except anyio.ClosedResourceError as error:
            raise psycopg.OperationalError("the connection was closed meanwhile") from error
        except anyio.get_cancelled_exc_class():
            await self._break_off()
            raise

    async def _wait_readable(self) -> None:
        loop = _get_running_loop()
        if loop is not None and loop is not self._loop:
            self._unwatch()
            # It stays until the connection is closed. anyio's wait would add and remove it each time, for ten system
            # calls on uvloop.
            with suppress(NotImplementedError):  # Windows
                file = self._pgconn.socket
                loop.add_reader(file, self._heard)
                self._loop, self._file = loop, file
        if loop is None or loop is not self._loop:
            await anyio.wait_readable(self._pgconn.socket)
            return
        self._answer = loop.create_future()
        await self._answer

    def _heard(self) -> None:
        """Called by asyncio's loop whenever there is something to read."""
        answer, self._answer = self._answer, None
        if answer is not None:
            if not answer.done():
                answer.set_result(None)
            return
        try:  # nobody waits: a notice, or the server has closed it
            self._pgconn.consume_input()
        except psycopg.Error:
            self._close()

    def _unwatch(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._file)

    async def _break_off(self) -> None:
        if self.closed:
            return
        if not psycopg.capabilities.has_cancel_safe():  # libpq's older way blocks the whole process
            self.drop()
            return
        cancel = self._pgconn.cancel_conn()
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
            anyio.notify_closing(self._pgconn.socket)
        self._close()

    def _close(self) -> None:
        self._unwatch()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(anyio.ClosedResourceError())
        self._opened.close()


def _after_begin(pgconn: "PGconn") -> "Generator[Any, Any, list[PGresult]]":
    """The results of the statement that follows BEGIN in a pipeline; BEGIN's own if it has failed."""
    yield from generators.send(pgconn)
    begun = yield from generators.fetch_many(pgconn)
    results = yield from generators.fetch_many(pgconn)
    yield from generators.fetch_many(pgconn)  # the answer to the sync
    if pgconn.status != _BAD:
        pgconn.exit_pipeline_mode()
    answered: list[PGresult] = results if begun and begun[0].status == ExecStatus.COMMAND_OK else begun
    return answered


async def _wait_either(file: int, wanted: Wait) -> Ready:
    """Wait until a socket is ready for writing; or, if `wanted` says so, for either."""
    if wanted == Wait.W:
        await anyio.wait_writable(file)
        return Ready.W
    ready = Ready.NONE

    async def until(state: Ready) -> None:
        nonlocal ready
        await (anyio.wait_readable(file) if state == Ready.R else anyio.wait_writable(file))
        ready = Ready(ready | state)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(until, Ready.R)
        group.start_soon(until, Ready.W)
    return ready


class Lent:
    """`async with` a connection that commits each statement; given back at the end, or closed if the block raises."""

    __slots__ = ("_connection", "_connections")

    def __init__(self, connections: "PostgresConnections") -> None:
        self._connections = connections

    async def __aenter__(self) -> PostgresConnection:
        self._connection = await self._connections.take()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._connections.give_back(self._connection)
        else:
            self._connections.give_up(self._connection)


class PostgresConnections:
    """A pool of connections to one database.

    most_idle: how many unused connections stay open.
    """

    def __init__(self, dsn: str, most_idle: int) -> None:
        self._dsn = dsn
        self._most_idle = most_idle
        self._idle: deque[PostgresConnection] = deque()
        self._closed = False

    async def take(self) -> PostgresConnection:
        """A connection. Raises psycopg.Error if none is kept, and the server cannot be reached."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
        return await PostgresConnection.open(self._dsn)

    def lend(self) -> Lent:
        """A connection for a block; see Lent."""
        return Lent(self)

    def give_back(self, connection: PostgresConnection) -> None:
        """Return a connection, which must not be in a transaction."""
        connection.begins, connection.untried = False, True
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
