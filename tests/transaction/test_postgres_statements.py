"""Statements of a branch in PostgreSQL: the first one begins the branch, and each can fail or be cancelled."""

import anyio
import anyio.lowlevel
import pytest

from recipes.transaction.branch import Answer

psycopg = pytest.importorskip("psycopg", reason="needs psycopg")

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
