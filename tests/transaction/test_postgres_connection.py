"""PostgreSQL's connections: how they end, what they need, and what one branch leaves to the next one."""

import errno
import socket
import struct
import threading

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from recipes.transaction.branch import Answer

psycopg = pytest.importorskip("psycopg", reason="needs psycopg")

from recipes.transaction.postgres import PostgresParticipant  # noqa: E402 - it needs psycopg
from recipes.transaction.postgres_connection import PostgresConnection  # noqa: E402
from tests.transaction.loops import LOOPS  # noqa: E402

pytestmark = pytest.mark.anyio

SECONDS = 60
RESET = struct.pack("ii", 1, 0)  # linger for no time: what was not sent yet is dropped


class Proxy:
    """One connection to the server, which `reset` ends without a FIN."""

    def __init__(self, port):
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.dsn = f"host=127.0.0.1 port={self._listener.getsockname()[1]} user=test dbname=postgres"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self):
        self.client, _ = self._listener.accept()
        self._upstream = socket.create_connection(("127.0.0.1", self._server))
        ways = (self.client, self._upstream), (self._upstream, self.client)
        self._pumps = [threading.Thread(target=self._pump, args=way) for way in ways]
        for pump in self._pumps:
            pump.start()

    def _pump(self, source, target):
        while data := source.recv(65536):
            target.sendall(data)

    def reset(self):
        self._accepting.join()
        for side in (self.client, self._upstream):
            side.shutdown(socket.SHUT_RD)
        for pump in self._pumps:
            pump.join()
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        for each in (self.client, self._upstream, self._listener):
            each.close()


@pytest.fixture(params=LOOPS)
def anyio_backend(request):
    return request.param


@pytest.fixture
async def participant(postgres):
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (number int)")
        connection.execute("CREATE SEQUENCE IF NOT EXISTS counted")
    participant = PostgresParticipant(postgres.dsn)
    await participant.open()
    yield participant
    await participant.aclose()


@pytest.mark.parametrize("first", ["", "a notice, and then the reset"])
@pytest.mark.parametrize("when", ["between statements", "during one"])
async def test_a_connection_that_is_reset_ends_each_statement(postgres, when, first):
    """uvloop tells of the error once, and listens no more."""
    proxy = Proxy(postgres.port)
    connection = await PostgresConnection.open(proxy.dsn)
    ((pid,),) = (await connection.execute(b"SELECT pg_backend_pid() + %s::int", [0])).rows

    def end():
        if first:  # what libpq reads without an answer: then it waits once more
            proxy.client.sendall(b"N" + struct.pack(">i", 5000) + b"SNOTICE\0")
        proxy.reset()

    with anyio.fail_after(SECONDS):
        if when == "between statements":
            end()
            for _ in range(3):
                await anyio.lowlevel.checkpoint()  # the loop meets the error
            with pytest.raises(psycopg.OperationalError):
                await connection.execute(b"SELECT 2")
        else:
            async with anyio.create_task_group() as tasks:

                async def run():
                    with pytest.raises(psycopg.OperationalError):
                        await connection.execute(b"SELECT pg_sleep(3600)")

                tasks.start_soon(run)
                await anyio.wait_all_tasks_blocked()
                end()
    assert connection.closed
    connection.drop()
    with psycopg.connect(postgres.dsn) as operator:  # it would sleep on
        operator.execute("SELECT pg_terminate_backend(%s)", [pid])


@pytest.mark.parametrize("params", [None, [1]])
async def test_the_servers_reason_for_the_end_of_a_session_is_the_error(participant, branch, params):
    sql = await participant.begin(branch)
    more = "" if params is None else ", %s::int"  # with parameters it goes with BEGIN
    with pytest.raises(psycopg.errors.AdminShutdown, match="terminating connection"):
        await sql.execute(f"SELECT pg_terminate_backend(pg_backend_pid()){more}", params)
    assert await participant.prepare(branch) is Answer.REFUSED


async def test_a_process_without_descriptors_gets_an_error_of_the_driver(postgres, monkeypatch):
    opened, connect = [], psycopg.connect

    def keep(*args, **settings):
        opened.append(connect(*args, **settings))
        return opened[-1]

    def fail(_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(psycopg, "connect", keep)
    monkeypatch.setattr(socket, "dup", fail)
    with pytest.raises(psycopg.OperationalError, match="Too many open files"):
        await PostgresConnection.open(postgres.dsn)
    assert [each.closed for each in opened] == [True]


async def test_begin_goes_by_itself_where_libpq_has_no_pipeline(participant, branch, monkeypatch):
    monkeypatch.setattr(psycopg.capabilities, "has_pipeline", lambda check=False: False)
    monkeypatch.delattr(PostgresConnection, "_begin_with")
    sql = await participant.begin(branch)
    await sql.execute("INSERT INTO numbers VALUES (%s)", [7])
    assert await participant.prepare(branch) is Answer.PREPARED
    assert await participant.abort(branch) is Answer.ABORTED


@pytest.mark.parametrize("changes", [True, False])
async def test_what_a_branch_sets_in_its_session_meets_no_other_branch(postgres, participant, branch, changes):
    sql = await participant.begin(branch)
    (backend,) = await sql.execute("SELECT pg_backend_pid(), current_user, current_setting('search_path')")
    await sql.execute("SET search_path = nowhere")  # nor is the guard's table looked for there
    await sql.execute("SELECT pg_advisory_lock(7)")
    if changes:
        await sql.execute("INSERT INTO public.numbers VALUES (nextval('public.counted'))")
    else:  # what cannot be prepared
        await sql.execute("DECLARE kept CURSOR WITH HOLD FOR SELECT 1")
        await sql.execute("LISTEN something")
        await sql.execute("SET ROLE pg_monitor")
    assert await participant.prepare(branch) is (Answer.PREPARED if changes else Answer.READ_ONLY)
    other = branch._replace(participant="other")
    sql = await participant.begin(other)
    now = await sql.execute("SELECT pg_backend_pid(), current_user, current_setting('search_path')")
    assert now == [backend]  # of the same connection
    left = "SELECT (SELECT count(*) FROM pg_cursors WHERE is_holdable) + (SELECT count(*) FROM pg_listening_channels())"
    assert await sql.execute(left) == [(0,)]
    with psycopg.connect(postgres.dsn) as connection:
        assert connection.execute("SELECT pg_try_advisory_lock(7)").fetchone() == (True,)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="lastval is not yet defined"):
        await sql.execute("SELECT lastval()")
    for each in (branch, other):
        assert await participant.abort(each) is Answer.ABORTED


async def test_a_server_that_is_slow_to_connect_takes_no_threads_from_others(monkeypatch):
    """Such as those of files, whose requests would take too long then."""
    go_on = threading.Event()

    def connect(*args, **settings):
        go_on.wait()
        raise psycopg.OperationalError("no answer")

    monkeypatch.setattr(psycopg, "connect", connect)
    participant = PostgresParticipant("host=nowhere")
    most = int(to_thread.current_default_thread_limiter().total_tokens)

    async def ask():
        with pytest.raises(psycopg.OperationalError, match="no answer"):
            await participant.recover()

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            try:
                for _ in range(most):
                    tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                assert await to_thread.run_sync(int) == 0
            finally:
                go_on.set()
