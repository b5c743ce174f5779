"""MariaDB and its connector, by the two-phase extension of PEP 249: what docs/transactions.md says of them, on a real
server; and drivers that lack the extension."""

import sqlite3
import time
from contextlib import suppress

import anyio
import pytest

from recipes import ConfigError, ParticipantGuard
from recipes.transaction.branch import Answer
from recipes.transaction.database import FORMAT_ID
from recipes.transaction.participant import BranchId
from recipes.transaction.tpc import TpcParticipant
from tests.transaction.conftest import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]  # it starts a server
SECONDS = 60


@pytest.fixture
def connect(mariadb):
    """Opens connections that commit each statement; all are closed in the end, and what was prepared is gone."""
    opened = []

    def connect(**settings):
        opened.append(mariadb.connect(autocommit=True, **settings))
        run(opened[-1], "SET lock_wait_timeout = 20, innodb_lock_wait_timeout = 20")
        return opened[-1]

    roll_back_all(mariadb)
    run(connect(), "DROP TABLE IF EXISTS accounts")
    run(opened[0], "CREATE TABLE accounts (name varchar(10) PRIMARY KEY, balance int) ENGINE = InnoDB")
    run(opened[0], "INSERT INTO accounts VALUES ('a', 100), ('b', 100)")
    yield connect
    for connection in opened:
        with suppress(connection.ProgrammingError):  # it is closed already
            connection.close()
    roll_back_all(mariadb)


def roll_back_all(mariadb):
    with mariadb.connect(autocommit=True) as connection:
        for *_, xid in run(connection, "XA RECOVER FORMAT='SQL'"):
            finish(connection, f"XA ROLLBACK {xid}")


@pytest.fixture
async def participant(mariadb, connect):
    participant = TpcParticipant(mariadb.connect)
    await participant.open()
    yield participant
    for branch in list(participant._working):
        await participant.abort(branch)
    await participant.aclose()


@pytest.fixture
def branch(request):
    return BranchId("0000abcd", f"1-{abs(hash(request.node.nodeid)):x}", "stock")


def run(connection, sql):
    cursor = connection.cursor()
    cursor.execute(sql)
    return cursor.fetchall() if cursor.description else []


def number(connection, sql):
    """The server's number of the error, 0 when there is none."""
    try:
        run(connection, sql)
    except connection.Error as error:
        return error.errno
    return 0


def finish(connection, sql):
    """Until the connection is gone that has prepared, the server does not know what it lists."""
    deadline = time.monotonic() + SECONDS
    while (found := number(connection, sql)) == 1397:
        assert time.monotonic() < deadline
    return found


def prepare(connection, gtrid, *statements, format_id=1):
    connection.tpc_begin(connection.xid(format_id, gtrid, "b"))
    for statement in statements:
        run(connection, statement)
    connection.tpc_prepare()


TAKE_TEN = "UPDATE accounts SET balance = balance - 10 WHERE name = 'a'"


def test_the_connector_ends_a_branch_on_its_own_connection_only(connect):
    owner, other = connect(), connect()
    prepare(owner, "g", TAKE_TEN)
    owner.close()
    assert other.tpc_recover() == [(1, 1, 1, b"gb")]  # no ids for tpc_commit, as PEP 249 has it
    with pytest.raises(other.ProgrammingError, match="Transaction not started"):
        other.tpc_commit(other.xid(1, "g", "b"))
    assert finish(other, "XA COMMIT 'g','b',1") == 0
    assert run(other, "SELECT balance FROM accounts WHERE name = 'a'") == [(90,)]


def test_a_prepared_branch_is_listed_and_yet_unknown_while_its_connection_is_there(connect):
    owner, other = connect(), connect()
    prepare(owner, "g", TAKE_TEN)
    assert run(other, "XA RECOVER FORMAT='SQL'") == [(1, 1, 1, "'g','b'")]
    assert number(other, "XA COMMIT 'g','b',1") == number(other, "XA ROLLBACK 'g','b',1") == 1397
    assert number(other, "XA COMMIT 'never','b',1") == 1397  # as if there were none
    run(other, f"KILL CONNECTION {owner.connection_id}")
    assert finish(other, "XA COMMIT 'g','b',1") == 0


def test_without_autocommit_no_branch_of_another_connection_is_committed(connect):
    owner, other = connect(), connect()
    other.autocommit = False
    prepare(owner, "g", TAKE_TEN)
    owner.close()
    assert number(other, "XA COMMIT 'g','b',1") == 1400
    other.autocommit = True
    assert finish(other, "XA COMMIT 'g','b',1") == 0


def test_a_statement_that_fails_undoes_itself_and_the_rest_is_prepared(connect):
    owner = connect()
    owner.tpc_begin(owner.xid(1, "g", "b"))
    run(owner, TAKE_TEN)
    assert number(owner, "INSERT INTO accounts VALUES ('a', 1)") == 1062
    owner.tpc_prepare()
    owner.tpc_commit()
    assert run(owner, "SELECT balance FROM accounts ORDER BY name") == [(90,), (100,)]


def test_a_branch_that_only_read_stays_listed_and_cannot_be_committed(connect):
    owner, other = connect(), connect()
    prepare(owner, "g", "SELECT * FROM accounts")
    owner.close()
    assert other.tpc_recover() == [(1, 1, 1, b"gb")]
    assert finish(other, "XA COMMIT 'g','b',1") == 1402
    assert other.tpc_recover() == []


def test_a_table_of_another_engine_takes_no_part(connect):
    owner = connect()
    run(owner, "CREATE OR REPLACE TABLE notes (line int) ENGINE = MyISAM")
    prepare(owner, "g", "INSERT INTO notes VALUES (1)")
    owner.tpc_rollback()
    assert run(owner, "SELECT * FROM notes") == [(1,)]
    with pytest.raises(owner.ProgrammingError, match="not allowed if a TPC transaction is active"):
        owner.commit()  # the connector does not notice the end of a branch that was rolled back


@pytest.mark.parametrize(
    ("format_id", "gtrid", "error"),
    [(1, "g" * 64, 0), (2**31 - 1, "g", 0), (2**31, "g", 1064), (1, "", 1398), (1, "it's", 1064)],
)
def test_what_an_id_may_be(connect, format_id, gtrid, error):
    assert FORMAT_ID < 2**31
    owner = connect()
    try:
        prepare(owner, gtrid, TAKE_TEN, format_id=format_id)
    except owner.Error as refused:
        assert refused.errno == error
        return
    assert error == 0
    owner.tpc_rollback()


def test_an_id_of_more_than_64_bytes_is_refused_by_the_connector(connect):
    owner = connect()
    with pytest.raises(owner.ProgrammingError, match="Maximum length"):
        owner.xid(1, "g" * 65, "b")


def test_who_waits_for_a_prepared_branch(connect):
    """Rows are locked, and the table's definition; nobody is told by which branch."""
    owner, other = connect(), connect()
    prepare(owner, "g", TAKE_TEN)
    owner.close()
    assert run(other, "SELECT * FROM information_schema.innodb_locks") == []
    assert run(other, "SELECT trx_rows_locked FROM information_schema.innodb_trx") == [(1,)]
    run(other, "SET lock_wait_timeout = 1, innodb_lock_wait_timeout = 1")
    assert number(other, TAKE_TEN) == number(other, "DROP TABLE accounts") == 1205
    assert run(other, "SELECT balance FROM accounts WHERE name = 'a'") == [(100,)]  # reading waits for nobody


def test_no_right_is_asked_for_to_end_what_others_have_prepared(mariadb, connect):
    owner, root = connect(), connect()
    run(root, "CREATE OR REPLACE USER clerk")
    run(root, "GRANT SELECT, INSERT, UPDATE, DELETE ON test.* TO clerk")
    prepare(owner, "g", TAKE_TEN)
    owner.close()
    clerk = connect(user="clerk")
    assert clerk.tpc_recover() == [(1, 1, 1, b"gb")]
    assert finish(clerk, "XA ROLLBACK 'g','b',1") == 0


async def test_a_participant_needs_no_more_than_the_rights_of_its_statements(mariadb, connect, participant, branch):
    root = connect()
    run(root, "CREATE OR REPLACE USER clerk")
    run(root, "GRANT SELECT, INSERT, UPDATE, DELETE ON test.* TO clerk")
    clerk = TpcParticipant(lambda: mariadb.connect(user="clerk"))
    await clerk.open()  # the guard's table is there
    await (await clerk.begin(branch)).execute(TAKE_TEN)
    assert await clerk.prepare(branch) is Answer.PREPARED
    assert [each.ours for each in await clerk.prepared()] == [branch]
    assert await clerk.commit(branch) is Answer.COMMITTED
    await clerk.aclose()


async def test_a_branch_whose_preparer_is_silent_is_reached_in_a_while(
    mariadb, connect, participant, branch, monkeypatch
):
    """A machine that is gone closes no connection, and the server would keep its branch from others for 8 hours."""
    other = TpcParticipant(mariadb.connect)
    monkeypatch.setattr("recipes.transaction.mariadb._SILENT_SECONDS", 2)
    database = participant._database
    await (await participant.begin(branch)).execute(TAKE_TEN)
    work = participant._working.pop(branch)
    participant._guard.begin(work.connection.cursor(), str(branch))
    database.prepare(work.connection, branch)
    assert await other.recover() == [branch]

    async def committed():
        return await other.commit(branch) is Answer.COMMITTED

    await eventually(committed)
    await other.aclose()
    with pytest.raises(work.connection.Error):
        run(work.connection, "SELECT 1")


async def test_a_deadlock_refuses_the_branch(connect, participant, branch):
    """The server rolls one back as a whole, and refuses to prepare it."""
    first, second = branch, branch._replace(participant="other")
    one, two = await participant.begin(first), await participant.begin(second)
    await one.execute("UPDATE accounts SET balance = 1 WHERE name = 'a'")
    await two.execute("UPDATE accounts SET balance = 1 WHERE name = 'b'")
    failed = []

    async def cross(sql, branch, name):
        try:
            await sql.execute(f"UPDATE accounts SET balance = 2 WHERE name = '{name}'")
        except connect().OperationalError as error:
            failed.append((error.errno, branch))

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(cross, one, first, "b")
            group.start_soon(cross, two, second, "a")
    ((code, victim),) = failed
    assert code == 1213
    with pytest.raises(connect().OperationalError, match="ROLLBACK ONLY"):
        await participant.prepare(victim)
    assert await participant.abort(victim) is Answer.ABORTED
    assert await participant.prepare(second if victim is first else first) is Answer.PREPARED
    assert await participant.abort(second if victim is first else first) is Answer.ABORTED


async def test_all_that_is_prepared_is_listed_with_the_age_of_what_is_ours(connect, participant, branch):
    await (await participant.begin(branch)).execute(TAKE_TEN)
    assert await participant.prepare(branch) is Answer.PREPARED
    owner = connect()
    prepare(owner, "their own", "UPDATE accounts SET balance = 1 WHERE name = 'b'", format_id=7)
    ours, theirs = await participant.prepared()
    assert (ours.ours, ours.locks, theirs) == (branch, (), ("X'7468656972206f776e','b',7", None, None, ()))
    assert 0 <= ours.age < 600
    assert ours.id == f"'{branch.gtrid}','{branch.participant}',{FORMAT_ID}"
    owner.close()
    assert finish(connect(), f"XA ROLLBACK {theirs.id}") == 0
    assert await participant.abort(branch) is Answer.ABORTED


async def test_a_guard_whose_table_keeps_rows_that_are_rolled_back_is_refused(mariadb, connect):
    run(
        connect(), "CREATE OR REPLACE TABLE loose (branch varchar(120) PRIMARY KEY, outcome varchar(6)) ENGINE = MyISAM"
    )
    with pytest.raises(ConfigError, match="the engine of loose=MyISAM: expected InnoDB"):
        await TpcParticipant(mariadb.connect, guard=ParticipantGuard("loose")).open()


async def test_a_server_that_may_lose_what_it_has_prepared_is_named(mariadb, connect):
    root = connect()
    run(root, "SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        with pytest.raises(ConfigError, match=r"127\.0\.0\.1:\d+: innodb_flush_log_at_trx_commit=2: expected 1"):
            await TpcParticipant(mariadb.connect).open()
    finally:
        run(root, "SET GLOBAL innodb_flush_log_at_trx_commit = 1")


async def test_a_driver_without_the_extension_is_refused(branch):
    for use in (lambda it: it.open(), lambda it: it.begin(branch)):
        with pytest.raises(ConfigError, match=r"connect=sqlite3, a driver without xid, .*: expected one with"):
            await use(TpcParticipant(lambda: sqlite3.connect(":memory:")))


async def test_psycopg_prepares_a_failed_transaction_without_a_word_and_is_not_believed(postgres, branch):
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgres.dsn) as raw:
        raw.tpc_begin(raw.xid(1, "g", "b"))
        with pytest.raises(psycopg.Error):
            raw.execute("SELECT * FROM no_such_table")
        raw.tpc_prepare()  # raises nothing
        assert raw.execute("SELECT count(*) FROM pg_prepared_xacts").fetchone() == (0,)
        raw._tpc = None  # it does not know that its transaction is gone
    participant = TpcParticipant(lambda: psycopg.connect(postgres.dsn))
    await participant.open()
    sql = await participant.begin(branch)
    await sql.execute("CREATE TABLE IF NOT EXISTS made (line int)")
    monkey = participant._guard.begin
    participant._guard.begin = lambda *_: None  # the guard's statement would fail as well, and tell
    with pytest.raises(psycopg.Error):
        await sql.execute("SELECT * FROM no_such_table")
    assert await participant.prepare(branch) is Answer.REFUSED
    participant._guard.begin = monkey
    await (await participant.begin(branch)).execute("CREATE TABLE IF NOT EXISTS made (line int)")
    assert await participant.prepare(branch) is Answer.PREPARED
    (listed,) = await participant.prepared()
    assert (listed.ours, listed.id.partition("_")[0]) == (branch, str(FORMAT_ID))
    assert await participant.abort(branch) is Answer.ABORTED
    await participant.aclose()


@pytest.mark.parametrize("verb", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_another_one_has_just_ended_is_proved_only_once_it_is_on_disk(
    mariadb, connect, participant, branch, verb
):
    """The soak of test_bank.py found it: a row is there to be read before it is durable, and the server is killed."""
    sql = await participant.begin(branch)
    await sql.execute("UPDATE accounts SET balance = balance - 10 WHERE name = 'a'")
    assert await participant.prepare(branch) is Answer.PREPARED
    admin = connect()
    # As in the moment before another one's commit is flushed.
    run(admin, "SET GLOBAL innodb_flush_log_at_trx_commit = 0, innodb_flush_log_at_timeout = 2700")

    async def ended():
        with suppress(admin.Error):  # its preparer is there yet
            run(admin, f"XA {verb} '{branch.gtrid}','{branch.participant}',{FORMAT_ID}")
            return True
        return False

    await eventually(ended)
    if verb == "ROLLBACK":
        run(admin, f"INSERT INTO recipes_branches (branch, outcome) VALUES ('{branch}', 'abort')")
    run(admin, "SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    if verb == "COMMIT":
        assert await participant.commit(branch) is Answer.COMMITTED
    else:
        assert await participant.abort(branch) is Answer.ABORTED
    await anyio.to_thread.run_sync(mariadb.restart)
    assert run(connect(), "XA RECOVER") == []
    assert run(connect(), "SELECT balance FROM accounts WHERE name = 'a'") == [(90 if verb == "COMMIT" else 100,)]
