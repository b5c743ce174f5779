"""Statements of a branch in PostgreSQL: the first one begins the branch, and each can fail or be cancelled."""

import anyio
import anyio.lowlevel
import pytest

from recipes.transaction.branch import Answer
from recipes.transaction.guard import ParticipantGuard

psycopg = pytest.importorskip("psycopg", reason="needs psycopg")

from recipes.transaction.postgres import PostgresParticipant  # noqa: E402 - it needs psycopg
from tests.transaction.accounts import look, take_ten, with_accounts  # noqa: E402

pytestmark = pytest.mark.anyio

SECONDS = 60


@pytest.fixture
async def participant(postgres):
    async with with_accounts(postgres) as participant:
        yield participant


async def test_a_branch_begins_with_its_first_statement_and_one_without_statements_changes_nothing(
    postgres, participant, branch
):
    open_now = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    other = branch._replace(participant="other")
    sql = await participant.begin(branch)
    assert look(postgres, open_now) == 0
    await sql.execute("UPDATE accounts SET balance = balance - %s WHERE name = 'a'", [10])
    await sql.execute("UPDATE accounts SET balance = balance - 1 WHERE name = 'a'")
    assert (look(postgres, open_now), look(postgres)) == (1, 100)
    await (await participant.begin(other)).execute("UPDATE accounts SET balance = 0 WHERE name = 'b'")
    assert look(postgres, open_now) == 2
    assert await participant.abort(branch) is Answer.ABORTED
    assert await participant.abort(other) is Answer.ABORTED
    assert look(postgres, "SELECT sum(balance) FROM accounts") == 200
    idle = branch._replace(participant="idle")
    await participant.begin(idle)
    assert await participant.can_commit(idle) is Answer.PREPARED
    assert await participant.prepare(idle) is Answer.READ_ONLY


async def test_a_first_statement_that_fails_at_the_server_spoils_the_branch_and_nothing_else(
    postgres, participant, branch
):
    sql = await participant.begin(branch)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await sql.execute("UPDATE accounts SET balance = balance / %s", [0])
    for statement, params in (("UPDATE accounts SET balance = %s", [0]), ("UPDATE accounts SET balance = 0", None)):
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            await sql.execute(statement, params)
    assert await participant.can_commit(branch) is Answer.REFUSED
    assert await participant.prepare(branch) is Answer.REFUSED
    assert look(postgres, "SELECT sum(balance) FROM accounts") == 200


async def test_a_statement_that_the_driver_refuses_spoils_the_branch_though_the_server_never_saw_it(
    postgres, participant, branch
):
    for before, other in ((False, branch._replace(participant="first")), (True, branch)):
        sql = await participant.begin(other)
        if before:
            await sql.execute("UPDATE accounts SET balance = balance - %s WHERE name = 'a'", [10])
        with pytest.raises(psycopg.ProgrammingError, match="placeholders"):
            await sql.execute("UPDATE accounts SET balance = balance + %s WHERE name = 'b'", [10, 20])
        assert await participant.can_commit(other) is Answer.REFUSED
        assert await participant.prepare(other) is Answer.REFUSED
    assert look(postgres, "SELECT sum(balance) FROM accounts") == 200


async def test_a_first_statement_that_libpq_refuses_to_send_closes_the_connection(postgres, participant, branch):
    sql = await participant.begin(branch)
    many = ", ".join(["%s"] * 65_536)  # one more than the protocol's count of parameters can say
    with pytest.raises(psycopg.OperationalError, match="number of parameters"):
        await sql.execute(f"SELECT 1 WHERE 0 IN ({many})", [0] * 65_536)
    with pytest.raises(psycopg.OperationalError, match="closed"):  # it was left in the pipeline, with BEGIN sent or not
        await sql.execute("UPDATE accounts SET balance = 0")
    assert await participant.prepare(branch) is Answer.REFUSED
    other = branch._replace(participant="other")
    await take_ten(participant, other)
    assert await participant.prepare(other) is Answer.PREPARED
    assert await participant.commit(other) is Answer.COMMITTED
    assert look(postgres) == 90


async def test_a_statement_that_is_cancelled_before_its_turn_spoils_the_branch_as_well(postgres, participant, branch):
    """Whether it was sent already is a matter of luck, and no caller could tell."""
    sql = await participant.begin(branch)
    await sql.execute("UPDATE accounts SET balance = balance - %s WHERE name = 'a'", [10])
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("LOCK TABLE recipes_branches IN ACCESS EXCLUSIVE MODE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sql.execute, "SELECT count(*) FROM recipes_branches")  # waits for that lock
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0) as scope:
                await sql.execute("UPDATE accounts SET balance = balance + %s WHERE name = 'b'", [10])
            assert scope.cancelled_caught
            connection.rollback()
    assert await participant.prepare(branch) is Answer.REFUSED
    assert look(postgres, "SELECT sum(balance) FROM accounts") == 200


async def test_a_first_statement_that_is_cancelled_is_broken_off_with_its_begin(postgres, participant, branch):
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep($1%' AND pid <> pg_backend_pid()"
    with anyio.move_on_after(0.2) as scope:
        await (await participant.begin(branch)).execute("SELECT pg_sleep(%s)", [3600])
    assert scope.cancelled_caught
    assert await participant.prepare(branch) is Answer.REFUSED
    with anyio.fail_after(SECONDS):
        while look(postgres, running):
            await anyio.sleep(0.01)


async def test_statements_that_are_larger_than_what_the_socket_takes_at_once(postgres, participant, branch):
    sql = await participant.begin(branch)
    large = "x" * 20_000_000
    with anyio.fail_after(SECONDS):
        for _ in range(2):  # with BEGIN, and without
            assert await sql.execute("SELECT length(%s)", [large]) == [(20_000_000,)]
        assert await sql.execute("SELECT repeat('y', 20000000)") == [("y" * 20_000_000,)]
    assert await participant.prepare(branch) is Answer.READ_ONLY


async def test_a_branch_that_works_in_another_role_is_prepared_by_the_user_who_ends_it(postgres, branch):
    """Nobody but the one who has prepared a transaction, and superusers, may end it."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        for role in ("teller", "clerk"):
            connection.execute(f"DROP ROLE IF EXISTS {role}")
            connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute("GRANT clerk TO teller")
        connection.execute("DROP TABLE IF EXISTS desks, branches_of_teller")
        connection.execute("CREATE TABLE desks (number int UNIQUE)")
        connection.execute("GRANT ALL ON desks TO clerk")
        connection.execute("GRANT CREATE ON SCHEMA public TO teller")
    participant = PostgresParticipant(
        postgres.dsn.replace("user=test", "user=teller"), guard=ParticipantGuard("branches_of_teller")
    )
    await participant.open()
    for number, (protocol, local) in enumerate((("2pc", ""), ("3pc", ""), ("2pc", "LOCAL"))):
        each = branch._replace(participant=f"{protocol}{local}")
        sql = await participant.begin(each)
        await sql.execute(f"SET {local} ROLE clerk")
        await sql.execute("INSERT INTO desks VALUES (%s)", [number])
        if protocol == "3pc":
            assert await participant.can_commit(each) is Answer.PREPARED
        assert await participant.prepare(each) is Answer.PREPARED
        assert await participant.commit(each) is Answer.COMMITTED
    await participant.aclose()
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM desks").fetchone() == (3,)
        connection.execute("DROP TABLE desks, branches_of_teller")
        connection.execute("DROP OWNED BY teller, clerk; DROP ROLE teller, clerk")


async def test_statements_have_the_encoding_of_their_connection(postgres, branch):
    """By default that is the database's own."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    dsn = postgres.dsn.replace("dbname=postgres", "dbname=latin")
    participant = PostgresParticipant(dsn)
    await participant.open()
    sql = await participant.begin(branch)
    await sql.execute("CREATE TABLE words (word text)")
    await sql.execute("INSERT INTO words VALUES ('\u00e9t\u00e9'), (%s)", ["\u00e9t\u00e9"])
    assert await sql.execute("SELECT word, length(word) FROM words") == [("\u00e9t\u00e9", 3)] * 2
    assert await participant.abort(branch) is Answer.ABORTED
    await participant.aclose()


@pytest.mark.parametrize(
    "statement",
    [
        "NOTIFY news",
        "SELECT pg_notify('news', '')",
        "DO $$ BEGIN PERFORM pg_notify('news', ''); END $$",
    ],
)
async def test_a_branch_that_did_nothing_but_notify_is_refused_and_sends_nothing(
    postgres, participant, branch, statement
):
    with psycopg.connect(postgres.dsn, autocommit=True) as listener:
        listener.execute("LISTEN news")
        await (await participant.begin(branch)).execute(statement)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
            await participant.prepare(branch)
        assert await participant.abort(branch) is Answer.ABORTED
        assert list(listener.notifies(timeout=0)) == []


async def test_a_function_that_changes_nothing_and_notifies_is_not_noticed(postgres, participant, branch):
    """The server tells of it only where a transaction is prepared, which would cost each branch that only reads two
    syncs of the disk."""
    with psycopg.connect(postgres.dsn, autocommit=True) as listener:
        listener.execute("CREATE OR REPLACE FUNCTION tell() RETURNS void LANGUAGE sql AS $$ NOTIFY news $$")
        listener.execute("LISTEN news")
        await (await participant.begin(branch)).execute("SELECT tell()")
        assert await participant.prepare(branch) is Answer.READ_ONLY
        assert await participant.abort(branch) is Answer.ABORTED
        assert [each.channel for each in listener.notifies(timeout=SECONDS, stop_after=1)] == ["news"]


@pytest.mark.parametrize("ended_by", ["abort", "prepare", "aclose"])
async def test_a_statement_that_still_runs_when_its_branch_ends_is_ended_at_the_server(
    postgres, participant, branch, ended_by
):
    """By a task that outlives the block: the statement would hold its locks after the abort was proved."""
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)' AND state = 'active'"
    await take_ten(participant, branch)

    async def sleep():
        with pytest.raises(psycopg.Error):
            await (await participant.begin(branch)).execute("SELECT pg_sleep(3600)")

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleep)
            while not look(postgres, running):
                await anyio.sleep(0.01)
            answer = await getattr(participant, ended_by)(*([] if ended_by == "aclose" else [branch]))
            assert answer is {"abort": Answer.ABORTED, "prepare": Answer.REFUSED, "aclose": None}[ended_by]
        while look(postgres, running):
            await anyio.sleep(0.01)
    assert look(postgres) == 100
