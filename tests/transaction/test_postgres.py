"""PostgreSQL as a participant: what docs/transactions.md says of it, on a real server."""

import signal
import socket
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from recipes import ConfigError, TransactionAborted
from recipes.transaction.branch import Answer
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.participant import BranchId

psycopg = pytest.importorskip("psycopg", reason="needs psycopg")
from psycopg.waiting import Wait  # noqa: E402 - it needs psycopg

from recipes.transaction.postgres import PostgresParticipant  # noqa: E402
from recipes.transaction.postgres_connection import PostgresConnection  # noqa: E402
from tests.transaction.accounts import look, take_ten, with_accounts  # noqa: E402

pytestmark = pytest.mark.anyio

SECONDS = 60


@pytest.fixture
async def participant(postgres):
    async with with_accounts(postgres) as participant:
        yield participant


async def test_u37_a_branch_is_prepared_and_committed_by_statements_and_each_may_be_repeated(
    postgres, participant, branch
):
    await take_ten(participant, branch)
    for _ in range(2):
        assert await participant.prepare(branch) is Answer.PREPARED
    assert await participant.recover() == [branch]
    assert look(postgres) == 100
    for _ in range(2):
        assert await participant.commit(branch) is Answer.COMMITTED
    assert (look(postgres), await participant.recover()) == (90, [])
    assert await participant.abort(branch) is Answer.CONTRADICTION
    await participant.forget(branch)
    assert await participant.commit(branch) is Answer.UNKNOWN


async def test_an_abort_undoes_and_refuses_what_comes_late(postgres, participant, branch):
    await take_ten(participant, branch)
    assert await participant.prepare(branch) is Answer.PREPARED
    for _ in range(2):
        assert await participant.abort(branch) is Answer.ABORTED
    assert (look(postgres), await participant.recover()) == (100, [])
    await take_ten(participant, branch)
    assert await participant.prepare(branch) is Answer.REFUSED
    assert look(postgres) == 100


async def test_u39_an_abort_that_comes_before_the_prepare_is_remembered(postgres, participant, branch):
    other = PostgresParticipant(postgres.dsn)  # as recovery in another process reaches it
    await take_ten(participant, branch)
    assert await other.abort(branch) is Answer.ABORTED
    assert await participant.prepare(branch) is Answer.REFUSED
    assert (look(postgres), await participant.recover()) == (100, [])
    await other.aclose()


async def test_u35_a_failed_transaction_is_not_voted_for_though_its_prepare_raises_nothing(
    postgres, participant, branch
):
    sql = await participant.begin(branch)
    await sql.execute("UPDATE accounts SET balance = 0 WHERE name = 'a'")
    with pytest.raises(psycopg.errors.UndefinedTable):
        await sql.execute("SELECT * FROM no_such_table")
    assert await participant.prepare(branch) is Answer.REFUSED
    assert (look(postgres), await participant.recover()) == (100, [])
    # The server's own way with it: no error, and another tag.
    with psycopg.connect(postgres.dsn) as connection:
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT * FROM no_such_table")
        assert connection.execute("PREPARE TRANSACTION 'nothing'").statusmessage == "ROLLBACK"


async def test_a_branch_that_changed_nothing_needs_no_second_phase(postgres, participant, branch):
    sql = await participant.begin(branch)
    assert await sql.execute("SELECT balance FROM accounts ORDER BY name") == [(100,), (100,)]
    assert await participant.prepare(branch) is Answer.READ_ONLY
    assert await participant.recover() == []


async def test_a_constraint_that_waits_for_the_end_is_looked_at_before_anything_is_held(postgres, participant, branch):
    sql = await participant.begin(branch)
    await sql.execute("CREATE TABLE IF NOT EXISTS later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    await sql.execute("INSERT INTO later VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await participant.can_commit(branch)
    assert await participant.abort(branch) is Answer.ABORTED


async def test_u36_what_is_prepared_outlives_its_connection_and_a_kill_of_the_server(second_postgres, branch):
    postgres = second_postgres
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS accounts")
        connection.execute("CREATE TABLE accounts (name text PRIMARY KEY, balance int)")
        connection.execute("INSERT INTO accounts VALUES ('a', 100)")
    participant = PostgresParticipant(postgres.dsn)
    await participant.open()
    await take_ten(participant, branch)
    assert await participant.prepare(branch) is Answer.PREPARED
    await anyio.to_thread.run_sync(postgres.kill9)
    await anyio.to_thread.run_sync(postgres.start)
    # The participant's connections went with the server: it opens others, and says nothing.
    assert await (await participant.begin(branch._replace(participant="later"))).execute("SELECT 1") == [(1,)]
    other = PostgresParticipant(postgres.dsn)
    assert await other.recover() == [branch]
    assert await other.commit(branch) is Answer.COMMITTED
    assert look(postgres) == 90
    await participant.aclose()
    await other.aclose()


def test_an_id_has_fewer_than_200_bytes_and_ours_always_has(postgres):
    longest = str(BranchId("0" * 8, f"{'f' * 8}-{'0' * 16}", "p" * 40))
    assert len(longest) < 100
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="too long"):
            connection.execute(f"PREPARE TRANSACTION '{'x' * 200}'")
        connection.rollback()
        connection.execute("SELECT pg_current_xact_id()")
        connection.execute(f"PREPARE TRANSACTION '{'x' * 199}'")
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"ROLLBACK PREPARED '{'x' * 199}'")


def test_what_is_not_prepared_goes_with_its_connection_and_some_things_are_never_prepared(postgres):
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("CREATE TABLE lost (line int)")
        connection.close()
    with psycopg.connect(postgres.dsn) as connection:
        assert connection.execute("SELECT to_regclass('lost')").fetchone() == (None,)
        connection.execute("CREATE TEMPORARY TABLE mine (line int)")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="temporary objects"):
            connection.execute("PREPARE TRANSACTION 'temporary'")
        connection.rollback()
        connection.execute("LISTEN something")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="LISTEN"):
            connection.execute("PREPARE TRANSACTION 'listening'")
        connection.rollback()


@pytest.mark.thorough  # it restarts a server
async def test_all_that_is_prepared_is_listed_with_its_age_and_its_locks(second_postgres, branch):
    postgres = second_postgres
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS accounts")
        connection.execute("CREATE TABLE accounts (name text PRIMARY KEY, balance int)")
        connection.execute("INSERT INTO accounts VALUES ('a', 100)")
    participant = PostgresParticipant(postgres.dsn)
    await participant.open()
    await take_ten(participant, branch)
    assert await participant.prepare(branch) is Answer.PREPARED
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("LOCK accounts IN ACCESS SHARE MODE")
        connection.execute("PREPARE TRANSACTION 'it''s somebody else''s'")
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(7)")
        connection.execute("PREPARE TRANSACTION 'advisory'")

    async def look_at_all():
        ours, theirs, advisory = await participant.prepared()
        assert (ours.id, ours.ours) == (str(branch), branch)
        assert 0 <= ours.age < 600
        assert {"RowExclusiveLock on accounts", "RowExclusiveLock on recipes_branches"} <= set(ours.locks)
        assert theirs[:2] == ("it's somebody else's", None)
        assert theirs.locks == ("AccessShareLock on accounts",)
        assert advisory.locks == ("ExclusiveLock on advisory",)

    await look_at_all()
    advisory = "SELECT virtualtransaction, pid FROM pg_locks WHERE locktype = 'advisory'"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        before = connection.execute(advisory).fetchone()
        await anyio.to_thread.run_sync(postgres.restart)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        after = connection.execute(advisory).fetchone()
        assert (before[1], after[1], after[0].partition("/")[0]) == (None, None, "-1")
        assert not before[0].startswith("-1")
        await participant.aclose()
        participant = PostgresParticipant(postgres.dsn)
        await look_at_all()
        for each in await participant.prepared():
            connection.execute("ROLLBACK PREPARED '{}'".format(each.id.replace("'", "''")))
    await participant.aclose()


async def test_a_statement_that_is_cancelled_is_broken_off_and_its_locks_are_free(postgres, participant, branch):
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)' AND state = 'active'"
    await take_ten(participant, branch)
    with anyio.move_on_after(0.2):
        await (await participant.begin(branch)).execute("SELECT pg_sleep(3600)")
    assert await participant.prepare(branch) is Answer.REFUSED
    with anyio.fail_after(SECONDS):
        while look(postgres, running):
            await anyio.sleep(0.01)
    assert await participant.abort(branch) is Answer.ABORTED
    other = branch._replace(participant="other")
    with anyio.fail_after(SECONDS):
        await take_ten(participant, other)  # waits for a lock that nobody frees otherwise
    assert await participant.prepare(other) is Answer.PREPARED
    assert await participant.commit(other) is Answer.COMMITTED
    assert look(postgres) == 90


async def test_u38_a_prepare_that_was_cancelled_is_broken_off_and_found_by_its_id(postgres, participant, branch):
    other = PostgresParticipant(postgres.dsn)  # as recovery in another process reaches it
    await take_ten(participant, branch)
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("INSERT INTO recipes_branches VALUES (%s, 'abort')", [str(branch)])
        with anyio.move_on_after(0.2) as scope:
            await participant.prepare(branch)  # waits to learn what becomes of that row
        connection.rollback()
    assert scope.cancelled_caught
    with anyio.fail_after(SECONDS):
        while await other.abort(branch) is not Answer.ABORTED:
            await anyio.sleep(0.01)
    assert await participant.prepare(branch) is Answer.REFUSED
    assert (look(postgres), await other.recover()) == (100, [])
    await other.aclose()


@pytest.mark.thorough  # it stops a server for a second
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_commit_that_waits_for_a_standby_is_not_taken_for_committed_by_a_try_that_was_given_up(
    second_postgres, branch
):
    def wait_for(standbys):
        with psycopg.connect(second_postgres.dsn, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standbys}'")
            connection.execute("SELECT pg_reload_conf()")
            until = time.monotonic() + SECONDS
            while a_commit_waits(connection) != bool(standbys):
                assert time.monotonic() < until
                time.sleep(0.01)

    def a_commit_waits(connection):
        """For a standby. What a session is shown as the setting says nothing: another process has to read it first."""
        with closing(psycopg.connect(second_postgres.dsn, autocommit=True)) as writer:
            writer.pgconn.send_query(b"CREATE TABLE written (); DROP TABLE written")  # one commit
            look = f"SELECT wait_event FROM pg_stat_activity WHERE pid = {writer.info.backend_pid}"
            while writer.pgconn.is_busy():
                if connection.execute(look).fetchone() == ("SyncRep",):
                    return True  # its connection is closed while it waits, and the commit holds
                writer.pgconn.consume_input()
            return False

    participant = PostgresParticipant(second_postgres.dsn)
    await participant.open()
    sql = await participant.begin(branch)
    await sql.execute("CREATE TABLE waited (number int)")
    assert await participant.prepare(branch) is Answer.PREPARED
    await to_thread.run_sync(wait_for, "nobody")
    try:
        with anyio.move_on_after(1):
            pytest.fail(f"{await participant.commit(branch)}, without a standby")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):  # the server still waits
            await participant.commit(branch)
    finally:
        await to_thread.run_sync(wait_for, "")
    with anyio.fail_after(SECONDS):
        while (answer := await once(participant, branch)) is None:
            await anyio.sleep(0.01)
    assert answer is Answer.COMMITTED
    await participant.aclose()


async def once(participant, branch):
    try:
        return await participant.commit(branch)
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return None


async def test_a_server_that_hangs_holds_up_nobody_and_each_cancelled_call_ends(postgres, participant, branch):
    branches = [branch._replace(participant=f"p{number}") for number in range(20)]
    statements = [await participant.begin(each) for each in branches]
    before = threading.active_count()
    postgres.process.send_signal(signal.SIGSTOP)  # it takes connections, and says nothing on them
    try:
        with anyio.fail_after(SECONDS), anyio.move_on_after(0.2):
            async with anyio.create_task_group() as tasks:
                for each in statements:
                    tasks.start_soon(each.execute, "SELECT pg_sleep(3600)")
        assert threading.active_count() <= before
    finally:
        postgres.process.send_signal(signal.SIGCONT)
        sleeping = "query LIKE 'SELECT pg_sleep(3600)%' AND pid <> pg_backend_pid()"
        look(postgres, f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {sleeping}")
    for each in branches:
        assert await participant.abort(each) is Answer.ABORTED
        await participant.forget(each)


async def test_a_statement_that_is_being_sent_as_its_connection_is_closed_says_so():
    def send():
        yield Wait.RW

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        with pytest.raises(BlockingIOError):
            while True:  # the server takes nothing any more
                ours.send(bytes(65536))
        opened = SimpleNamespace(pgconn=SimpleNamespace(socket=ours.fileno()), close=lambda: None)
        connection = PostgresConnection(opened)

        async def wait():
            with pytest.raises(psycopg.OperationalError, match="closed meanwhile"):
                await connection._wait(send())

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                connection.drop()


async def test_two_tasks_that_enlist_one_participant_share_its_branch(postgres, participant, branch):
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(take_ten, participant, branch)
    assert await participant.prepare(branch) is Answer.PREPARED
    assert await participant.commit(branch) is Answer.COMMITTED
    assert look(postgres) == 80


async def test_several_that_open_at_a_time_make_the_table_once(postgres, participant):
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE recipes_branches")
    others = [PostgresParticipant(postgres.dsn) for _ in range(8)]
    async with anyio.create_task_group() as tasks:
        for each in others:
            tasks.start_soon(each.open)
    assert look(postgres, "SELECT count(*) FROM recipes_branches") == 0
    for each in others:
        await each.aclose()


async def test_what_is_forgotten_at_a_time_is_deleted_at_once(postgres, participant, branch):
    branches = [branch._replace(participant=f"p{number}") for number in range(100)]
    rows = "SELECT count(*) FROM recipes_branches WHERE branch LIKE '%:p%'"
    deletions = "SELECT count(*) FROM deletions"
    for each in branches:
        assert await participant.abort(each) is Answer.ABORTED
    assert look(postgres, rows) == 100
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(
            "DROP TABLE IF EXISTS deletions; CREATE TABLE deletions (n int);"
            "CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO deletions VALUES (1); RETURN NULL; END $$;"
            "CREATE TRIGGER note AFTER DELETE ON recipes_branches FOR EACH STATEMENT EXECUTE FUNCTION note()"
        )
    async with anyio.create_task_group() as tasks:
        for each in branches:
            tasks.start_soon(participant.forget, each)
    assert (look(postgres, rows), look(postgres, deletions)) == (0, 1)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DROP TRIGGER note ON recipes_branches")


async def end_backends(postgres):
    """End all unused connections at the server, and wait until they are gone."""
    idle = "FROM pg_stat_activity WHERE state LIKE 'idle%' AND pid <> pg_backend_pid()"
    look(postgres, f"SELECT count(pg_terminate_backend(pid)) {idle}")
    with anyio.fail_after(SECONDS):
        while look(postgres, f"SELECT count(*) {idle}"):
            await anyio.sleep(0.01)


@pytest.mark.parametrize("asked", ["recover", "prepared", "commit", "abort", "begin"])
async def test_connections_that_the_server_has_closed_while_they_were_unused_are_not_noticed(
    postgres, participant, branch, asked
):
    others = [branch._replace(participant=f"p{number}") for number in range(2)]
    for each in others:  # two at a time: two connections
        await take_ten(participant, each) if each is others[0] else await participant.begin(each)
    for each in others:
        assert await participant.prepare(each) in (Answer.PREPARED, Answer.READ_ONLY)
    await end_backends(postgres)
    if asked in ("commit", "abort"):
        expected = Answer.COMMITTED if asked == "commit" else Answer.ABORTED
        assert await getattr(participant, asked)(others[0]) is expected
        return
    if asked == "begin":
        await (await participant.begin(branch)).execute("SELECT balance FROM accounts WHERE name = %s", ["b"])
    else:
        assert len(await getattr(participant, asked)()) == 1
    assert await participant.abort(others[0]) is Answer.ABORTED


async def test_a_connection_that_ends_while_a_statement_is_sent_disturbs_no_later_one(postgres, participant, branch):
    """libpq closes its socket then, and the next connection may get the same number."""
    from recipes.transaction.postgres_connection import PostgresConnection

    sql = await participant.begin(branch)
    await sql.execute("UPDATE accounts SET balance = balance - %s WHERE name = 'a'", [10])
    number = sql._connection._pgconn.socket
    await end_backends(postgres)
    with pytest.raises(psycopg.OperationalError):
        await sql.execute("UPDATE accounts SET balance = 0")
    later = []
    with anyio.fail_after(SECONDS):
        while not later or (later[-1]._pgconn.socket != number and len(later) < 20):
            later.append(await PostgresConnection.open(postgres.dsn))
            assert (await later[-1].execute(b"SELECT %s::int", [7])).rows == [(7,)]
        assert later[-1]._pgconn.socket == number
        assert await participant.prepare(branch) is Answer.REFUSED  # closes what is left of the first
        for each in later:
            assert (await each.execute(b"SELECT %s::int", [8])).rows == [(8,)]
            each.drop()
    assert look(postgres) == 100


@pytest.mark.thorough  # 50 connections
async def test_branches_that_wait_for_a_lock_keep_no_thread_from_the_commit_that_frees_it(
    postgres, participant, branch
):
    await take_ten(participant, branch)
    assert await participant.prepare(branch) is Answer.PREPARED
    others = [branch._replace(participant=f"other-{number}") for number in range(45)]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    done = []

    async def take_and_undo(each):
        await take_ten(participant, each)
        done.append(await participant.abort(each))

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            for each in others:
                tasks.start_soon(take_and_undo, each)
            while look(postgres, waiting) < len(others):
                await anyio.sleep(0.05)
            assert await participant.commit(branch) is Answer.COMMITTED
    assert done == [Answer.ABORTED] * 45
    assert look(postgres) == 90


async def test_u36_a_server_that_prepares_nothing_is_named(start_postgres):
    postgres = start_postgres(max_prepared_transactions=0)
    with pytest.raises(ConfigError, match="max_prepared_transactions=0: expected as many as"):
        await PostgresParticipant(postgres.dsn).open()


async def test_money_moves_between_two_databases_or_not_at_all(postgres, second_postgres, client, root):
    other = second_postgres
    parties = {"one": PostgresParticipant(postgres.dsn), "two": PostgresParticipant(other.dsn)}
    for server in (postgres, other):
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS purses")
            connection.execute("CREATE TABLE purses (name text PRIMARY KEY, balance int CHECK (balance >= 0))")
            connection.execute("INSERT INTO purses VALUES ('a', 100)")
    balance = "SELECT balance FROM purses"
    async with Coordinator(client, root, participants=parties) as coordinator:

        async def move(amount, protocol):
            async with coordinator.begin(protocol=protocol) as tx:
                one, two = await tx.enlist("one"), await tx.enlist("two")
                await two.execute("UPDATE purses SET balance = balance + %s", [amount])
                await one.execute("UPDATE purses SET balance = balance - %s", [amount])

        with anyio.fail_after(SECONDS):
            for protocol in ("2pc", "3pc"):
                await move(30, protocol)
            assert (look(postgres, balance), look(other, balance)) == (40, 160)
            with pytest.raises(psycopg.errors.CheckViolation):
                await move(50, "2pc")
            with pytest.raises(TransactionAborted, match="time is up"):
                async with coordinator.begin(deadline=0.2) as tx:
                    await (await tx.enlist("one")).execute("UPDATE purses SET balance = 0")
                    await anyio.sleep_forever()
    assert (look(postgres, balance), look(other, balance)) == (40, 160)
    for party in parties.values():
        assert await party.recover() == []
        await party.aclose()
