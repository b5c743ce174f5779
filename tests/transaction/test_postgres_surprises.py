"""What PostgreSQL itself does, where the table in docs/transactions.md relies on it and no participant shows it."""

import anyio
import pytest

from recipes import TransactionAborted
from recipes.transaction.branch import Answer
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.tpc import TpcParticipant

psycopg = pytest.importorskip("psycopg", reason="needs psycopg")

from tests.transaction.accounts import look, with_accounts  # noqa: E402 - it needs psycopg

pytestmark = pytest.mark.anyio

SECONDS = 60


@pytest.fixture
async def participant(postgres):
    async with with_accounts(postgres) as participant:
        yield participant


def prepare(connection, name, statement="SELECT pg_current_xact_id()"):
    for each in ("BEGIN", statement, f"PREPARE TRANSACTION '{name}'"):
        connection.execute(each)


@pytest.mark.parametrize("outcome", ["COMMIT", "ROLLBACK"])
def test_an_id_that_is_gone_does_not_tell_its_outcome(postgres, outcome):
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        prepare(connection, "gone")
        connection.execute(f"{outcome} PREPARED 'gone'")
        with pytest.raises(psycopg.errors.UndefinedObject, match='"gone" does not exist'):
            connection.execute("COMMIT PREPARED 'gone'")


async def test_a_participant_of_any_driver_leaves_the_role_as_it_is(postgres, branch):
    participant = TpcParticipant(lambda: psycopg.connect(postgres.dsn))
    await participant.open()
    with psycopg.connect(postgres.dsn, autocommit=True) as root:
        root.execute("DROP ROLE IF EXISTS guest")
        root.execute("CREATE ROLE guest; GRANT ALL ON recipes_branches TO guest")
        await (await participant.begin(branch)).execute("SET ROLE guest")
        assert await participant.prepare(branch) is Answer.PREPARED
        assert root.execute("SELECT DISTINCT owner FROM pg_prepared_xacts").fetchall() == [("guest",)]
        assert await participant.abort(branch) is Answer.ABORTED
        root.execute("DROP OWNED BY guest; DROP ROLE guest")
    await participant.aclose()


def test_only_who_has_prepared_a_transaction_ends_it_and_that_is_the_role_of_the_moment(postgres):
    with psycopg.connect(postgres.dsn, autocommit=True) as root:
        for role in ("owner", "member"):
            root.execute(f"DROP ROLE IF EXISTS {role}")
            root.execute(f"CREATE ROLE {role} LOGIN")
        root.execute("GRANT owner TO member")
        with psycopg.connect(postgres.dsn.replace("user=test", "user=member"), autocommit=True) as connection:
            prepare(connection, "owned", "SET LOCAL ROLE owner; SELECT pg_current_xact_id()")
            for verb in ("COMMIT", "ROLLBACK"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="superuser or the user that prepared"):
                    connection.execute(f"{verb} PREPARED 'owned'")
        assert root.execute("SELECT owner FROM pg_prepared_xacts WHERE gid = 'owned'").fetchone() == ("owner",)
        root.execute("ROLLBACK PREPARED 'owned'")
        root.execute("DROP ROLE member, owner")


async def test_a_statement_whose_client_has_gone_runs_on_with_its_locks(postgres, participant):
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3601)' AND pid <> pg_backend_pid()"
    connection = psycopg.connect(postgres.dsn)
    pid = connection.info.backend_pid
    connection.execute("UPDATE accounts SET balance = 0 WHERE name = 'a'")
    connection.pgconn.send_query(b"SELECT pg_sleep(3601)")
    with anyio.fail_after(SECONDS):
        while not look(postgres, f"{running} AND state = 'active'"):
            await anyio.sleep(0.01)
    connection.close()
    with psycopg.connect(postgres.dsn, autocommit=True) as other:
        other.execute("SET lock_timeout = 100")
        for _ in range(3):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("UPDATE accounts SET balance = 1 WHERE name = 'a'")
        assert look(postgres, running) == 1
        other.execute("SELECT pg_terminate_backend(%s)", [pid])


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (["CREATE TEMPORARY TABLE mine (line int)"], "temporary objects"),
        (["UPDATE accounts SET balance = 0", "LISTEN news"], "LISTEN"),
        (["UPDATE accounts SET balance = 0", "NOTIFY news"], "NOTIFY"),
        (["INSERT INTO later VALUES (1, 2)"], "violates foreign key constraint"),
        (["INSERT INTO once VALUES (1), (1)"], "duplicate key value"),
    ],
)
async def test_what_the_server_refuses_at_the_end_aborts_with_its_reason(
    postgres, participant, client, root, protocol, statements, why
):
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS later, once")
        connection.execute("CREATE TABLE once (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        connection.execute(
            "CREATE TABLE later (id int PRIMARY KEY, other int REFERENCES later DEFERRABLE INITIALLY DEFERRED)"
        )
    async with Coordinator(client, root, participants={"bank": participant}) as coordinator:
        with anyio.fail_after(SECONDS), pytest.raises(TransactionAborted, match=f"bank: .*{why}"):
            async with coordinator.begin(protocol=protocol, deadline=SECONDS) as tx:
                sql = await tx.enlist("bank")
                for each in statements:
                    await sql.execute(each)
    assert look(postgres, "SELECT sum(balance) FROM accounts") == 200
    assert await participant.recover() == []


async def test_what_was_at_work_when_its_connection_ended_is_not_voted_for(postgres, participant, branch):
    sql = await participant.begin(branch)
    ((pid,),) = await sql.execute("UPDATE accounts SET balance = 0 WHERE name = 'a' RETURNING pg_backend_pid()")
    gone = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"
    look(postgres, f"SELECT pg_terminate_backend({pid})")
    with anyio.fail_after(SECONDS):
        while look(postgres, gone):
            await anyio.sleep(0.01)
    with pytest.raises(psycopg.OperationalError):
        await participant.prepare(branch)
    assert await participant.abort(branch) is Answer.ABORTED
    assert look(postgres) == 100
