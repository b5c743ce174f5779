"""Connections to PostgreSQL (psycopg 3) that wait in the event loop, so that they work on asyncio and on trio.

psycopg connects, in a thread, and converts parameters and rows. What is in between is here: psycopg's own asynchronous
connections wait on asyncio only. A cancelled wait closes the connection, since the outcome of the statement is unknown.
The server is also asked to cancel the statement, so that it does not hold its locks until it ends by itself.
"""

from collections import deque
from contextlib import suppress
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
from recipes.transaction.socket_watch import SocketWatch

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

R = TypeVar("R")

_CONNECT_SECONDS = 5
_BREAK_OFF_SECONDS = 1.0
_THREADS = 40  # of one participant: a server that takes no connections takes no threads from others
# Attributes of an Enum class are slow to look up.
_BAD, _READ, _READABLE, _ROWS = ConnStatus.BAD, Wait.R, Ready.R, ExecStatus.TUPLES_OK
_IDLE, _ACTIVE, _IN_TRANSACTION = TransactionStatus.IDLE, TransactionStatus.ACTIVE, TransactionStatus.INTRANS
_WELL = frozenset({ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.EMPTY_QUERY})


class Answered(NamedTuple):
    """The server's answer. tags: of each statement, such as "UPDATE 3". rows: of the first one."""

    tags: list[str]
    rows: list[tuple[Any, ...]]


class PostgresConnection:
    """A connection that commits each statement by itself, unless it is in a transaction. Made by `open`.

    begins: whether the next `execute` begins a transaction.
    """

    def __init__(self, opened: "psycopg.Connection[Any]") -> None:
        self.begins: bool = False
        self._opened = opened
        self._pgconn: PGconn = opened.pgconn
        self._watch = SocketWatch(opened.pgconn.socket)
        self._taken = False  # by a task whose statement is under way
        self._turns: deque[Waiter] = deque()  # of tasks that wait for their turn
        self._may_end = True  # whether the statement under way may be cancelled at the server

    @classmethod
    async def open(cls, dsn: str, limiter: anyio.CapacityLimiter | None = None) -> "PostgresConnection":
        """Connect, in a thread of those that `limiter` counts. Takes two descriptors: libpq's and its duplicate. Raises
        psycopg.Error."""

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
            await anyio.to_thread.run_sync(connect, abandon_on_cancel=True, limiter=limiter)
        except anyio.get_cancelled_exc_class():
            unwanted = True
            close()
            raise
        opened = made.pop()
        try:
            return cls(opened)
        except OSError as error:  # the process has no descriptor left for the duplicate
            opened.close()
            raise psycopg.OperationalError(f"the connection's socket cannot be watched: {error}") from error

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
        return self.closed and not self._watch.closed

    @property
    def is_sound(self) -> bool:
        """Whether it is in a transaction that can still commit: PREPARE of a failed transaction raises nothing."""
        return self._pgconn.transaction_status == _IN_TRANSACTION

    @property
    def is_free(self) -> bool:
        """Whether it is open and in no transaction, and no statement is under way."""
        return self._pgconn.transaction_status == _IDLE

    def is_stale(self) -> bool:
        """Whether it is of no use any more, as far as this machine has heard. For a connection that was unused: then
        anything to read means that the server has closed it, or that it wants to say what nobody needs."""
        return self.closed or self._watch.is_readable()

    async def run(self, sql: str, *, may_end: bool = True) -> "Sequence[PGresult]":
        """Run statements without parameters, in one message; return the result of each. Cheaper than `execute`, which
        runs the user's statements. may_end: whether the server is asked to cancel them when the caller is cancelled.
        Raises psycopg.Error."""
        await self._take_turn()
        try:
            self._may_end = may_end
            self._pgconn.send_query(sql.encode())
            return await self._hear(generators.execute(self._pgconn))
        finally:
            self._may_end = True
            self._end_turn()

    async def execute(self, sql: str | bytes, params: "Sequence[Any] | None" = None) -> Answered:
        """Run a statement with parameters, or statements without; return the answer. Raises psycopg.Error.

        BEGIN goes in one message with the first statement, if that has parameters, and costs no round trip. With
        libpq before 14 it has one of its own.
        """
        transformer = Transformer(self._opened)
        query = PostgresQuery(transformer)
        if isinstance(sql, str):
            # As bytes, since the driver's type wants literals: statements come from the user's code here.
            sql = sql.encode("utf-8" if transformer.encoding == "ascii" else transformer.encoding)
        query.convert(sql, params)
        await self._take_turn()
        try:
            begins, self.begins = self.begins, False
            if begins and query.params and psycopg.capabilities.has_pipeline():  # libpq 14 or later
                results = await self._hear(self._begin_with(query))
            else:
                if begins:
                    self._pgconn.send_query(b"BEGIN")
                    await self._hear(generators.execute(self._pgconn))
                if query.params:
                    self._pgconn.send_query_params(query.query, query.params, query.types, query.formats)
                else:
                    self._pgconn.send_query(query.query)
                results = await self._hear(generators.execute(self._pgconn))
        finally:
            self._end_turn()
        first = results[0]
        rows: list[tuple[Any, ...]] = []
        if first.status == _ROWS:
            transformer.set_pgresult(first)
            rows = transformer.load_rows(0, first.ntuples, tuple)
        return Answered([(result.command_status or b"").decode() for result in results], rows)

    def _begin_with(self, query: "PostgresQuery") -> "Generator[Any, Any, list[PGresult]]":
        """Send BEGIN and a statement, in libpq's pipeline; the results of the statement, or of BEGIN if that failed."""
        pgconn = self._pgconn
        answers: list[list[PGresult]] = []  # to BEGIN, to the statement, and to the sync
        pgconn.enter_pipeline_mode()
        try:
            pgconn.send_query_params(b"BEGIN", None)
            pgconn.send_query_params(query.query, query.params, query.types, query.formats)
            pgconn.pipeline_sync()
            yield from generators.send(pgconn)
            while len(answers) < 3:
                answers.append((yield from generators.fetch_many(pgconn)))
            pgconn.exit_pipeline_mode()
        except psycopg.Error:
            # Perhaps libpq refused the statement: then BEGIN waits in its buffer, and the pipeline is not at its end.
            if not self.closed:
                self.drop()
            # A server that ends a session says why before it closes the connection.
            for answer in answers:
                if any(result.status == ExecStatus.FATAL_ERROR for result in answer):
                    return answer
            raise
        begun, results, _ = answers
        return results if begun and begun[0].status in _WELL else begun

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
        results = await self._wait(gen)
        if not results:
            raise psycopg.InternalError("the server has not answered the statement")
        for result in results:
            if result.status not in _WELL:
                raise self._error(result)
        return results

    def _error(self, result: "PGresult") -> psycopg.Error:
        if result.status == ExecStatus.FATAL_ERROR:
            return psycopg.errors.error_from_result(result, self._opened.info.encoding)
        self.drop()  # in the middle of a COPY
        return psycopg.ProgrammingError(f"{ExecStatus(result.status).name} is no result of a statement of a branch")

    async def _wait(self, gen: "PQGen[R]") -> R:
        """Drive a generator of psycopg's protocol, which yields what it waits for. The caller sets time limits."""
        try:
            wanted = next(gen)
            while True:
                if wanted == _READ:
                    await self._watch.wait_readable()
                    wanted = gen.send(_READABLE)
                else:
                    wanted = gen.send(await self._writable(wanted))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except anyio.ClosedResourceError as error:
            raise psycopg.OperationalError("the connection was closed meanwhile") from error
        except anyio.get_cancelled_exc_class():
            await self._break_off()
            raise

    async def _writable(self, wanted: Wait) -> Ready:
        """Wait until more can be sent; or, if `wanted` says so, until there is something to read."""
        if wanted == Wait.W:
            await self._watch.wait_writable()
            return Ready.W
        readable, writable = await self._watch.wait_either()
        return Ready((Ready.R if readable else Ready.NONE) | (Ready.W if writable else Ready.NONE))

    async def _break_off(self) -> None:
        if self.closed:
            return
        # libpq's older way of cancelling blocks the whole process.
        if not self._may_end or not psycopg.capabilities.has_cancel_safe():
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

    async def end(self) -> None:
        """Close the connection. A statement that another task runs on it is ended at the server, too, so that it does
        not hold its locks until it ends by itself."""
        if self._pgconn.transaction_status == _ACTIVE:
            await self._break_off()
        else:
            self.drop()

    def drop(self) -> None:
        """Close the connection at once. A task that waits for an answer on it gets an error."""
        self._watch.close()
        self._opened.close()


class PostgresConnections:
    """A pool of connections to one database.

    most_idle: how many unused connections stay open.
    """

    def __init__(self, dsn: str, most_idle: int) -> None:
        self._dsn = dsn
        self._most_idle = most_idle
        self._limiter = anyio.CapacityLimiter(_THREADS)
        self._idle: deque[PostgresConnection] = deque()
        self._closed = False

    async def take(self) -> PostgresConnection:
        """A connection. Raises psycopg.Error if none is kept, and the server cannot be reached."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_stale():
                return connection
            connection.drop()  # the server has closed it meanwhile, or was started again
        return await PostgresConnection.open(self._dsn, self._limiter)

    def give_back(self, connection: PostgresConnection) -> None:
        """Return a connection. It is closed if it is in a transaction, or a statement is under way."""
        connection.begins = False
        if len(self._idle) < self._most_idle and not self._closed and connection.is_free:
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
