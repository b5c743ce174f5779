"""What every participant over SQL has to show, on a real server each: PostgreSQL by psycopg, as itself and by the
two-phase extension of PEP 249 alone, and MariaDB by its connector."""

import threading
from contextlib import suppress

import anyio
import pytest

from recipes import BadArguments, TransactionAborted
from recipes.transaction.branch import Answer
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.participant import BranchId
from recipes.transaction.tpc import TpcParticipant
from tests.transaction.conftest import eventually

psycopg = pytest.importorskip("psycopg", reason="needs psycopg")
from recipes.transaction.postgres import PostgresParticipant  # noqa: E402 - it needs psycopg

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]  # it starts servers, and waits for locks

SECONDS = 60


class PostgresBank:
    """A server with a table of accounts, and participants on it."""

    driver = psycopg

    def __init__(self, server):
        self.server = server

    def connect(self):
        return psycopg.connect(self.server.dsn)

    def participant(self, guard=None):
        return PostgresParticipant(self.server.dsn, guard=guard)

    def run(self, *statements):
        connection = self.connect()
        try:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
            return rows
        finally:
            connection.close()

    def set_up(self):
        self.run(
            "DROP TABLE IF EXISTS accounts",
            "CREATE TABLE accounts (name varchar(10) PRIMARY KEY, balance int CHECK (balance >= 0))",
            "INSERT INTO accounts VALUES ('a', 100), ('b', 100)",
        )

    def balance(self):
        return self.run("SELECT balance FROM accounts WHERE name = 'a'")[0][0]


class TpcBank(PostgresBank):
    def participant(self, guard=None):
        return TpcParticipant(lambda: psycopg.connect(self.server.dsn, connect_timeout=5), guard=guard)


class MariaDbBank(PostgresBank):
    @property
    def driver(self):
        return pytest.importorskip("mariadb")

    def connect(self):
        connection = self.server.connect()
        connection.cursor().execute("SET lock_wait_timeout = 10, innodb_lock_wait_timeout = 10")
        return connection

    def participant(self, guard=None):
        return TpcParticipant(self.server.connect, guard=guard)


@pytest.fixture(params=["postgres", "tpc", "mariadb"])
def bank(request):
    kind = {"postgres": PostgresBank, "tpc": TpcBank, "mariadb": MariaDbBank}[request.param]
    bank = kind(request.getfixturevalue("mariadb" if request.param == "mariadb" else "postgres"))
    bank.set_up()
    return bank


@pytest.fixture
async def participant(bank):
    participant = bank.participant()
    await participant.open()
    yield participant
    for branch in {*participant._working, *await participant.recover()}:  # of a test that has failed
        await participant.abort(branch)
    await participant.aclose()


@pytest.fixture
async def other(bank):
    """As recovery in another process reaches it."""
    participant = bank.participant()
    yield participant
    await participant.aclose()


@pytest.fixture
def branch(request):
    return BranchId("0000abcd", f"1-{abs(hash(request.node.nodeid)):x}", "Bank")


async def take_ten(participant, branch):
    sql = await participant.begin(branch)
    await sql.execute("UPDATE accounts SET balance = balance - 10 WHERE name = 'a'")


async def test_a_branch_is_prepared_and_committed_and_each_request_may_be_repeated(bank, participant, branch):
    await take_ten(participant, branch)
    assert await participant.can_commit(branch) is Answer.PREPARED
    for _ in range(2):
        assert await participant.prepare(branch) is Answer.PREPARED
    assert await participant.recover() == [branch]
    assert bank.balance() == 100
    for _ in range(2):
        assert await participant.commit(branch) is Answer.COMMITTED
    assert (bank.balance(), await participant.recover()) == (90, [])
    assert await participant.prepare(branch) is Answer.COMMITTED
    assert await participant.abort(branch) is Answer.CONTRADICTION
    for _ in range(2):
        await participant.forget(branch)
    assert await participant.commit(branch) is Answer.UNKNOWN


async def test_an_abort_undoes_and_refuses_what_comes_late(bank, participant, branch):
    await take_ten(participant, branch)
    assert await participant.prepare(branch) is Answer.PREPARED
    for _ in range(2):
        assert await participant.abort(branch) is Answer.ABORTED
    assert (bank.balance(), await participant.recover()) == (100, [])
    assert await participant.commit(branch) is Answer.CONTRADICTION
    assert await participant.prepare(branch) is Answer.REFUSED
    await take_ten(participant, branch)
    assert await participant.can_commit(branch) is Answer.REFUSED
    assert await participant.prepare(branch) is Answer.REFUSED
    assert bank.balance() == 100


async def test_an_abort_that_comes_first_is_remembered(bank, participant, other, branch):
    await take_ten(participant, branch)
    assert await other.abort(branch) is Answer.ABORTED
    assert await participant.prepare(branch) is Answer.REFUSED
    assert (bank.balance(), await participant.recover()) == (100, [])


async def test_another_process_ends_what_is_prepared(bank, participant, other, branch):
    await take_ten(participant, branch)
    assert await participant.prepare(branch) is Answer.PREPARED
    assert await other.recover() == [branch]
    assert await other.prepare(branch) is Answer.PREPARED
    assert await other.commit(branch) is Answer.COMMITTED
    assert await participant.commit(branch) is Answer.COMMITTED
    assert bank.balance() == 90
    await other.forget(branch)
    assert await participant.prepare(branch) is Answer.REFUSED


async def test_what_is_forgotten_at_a_time_is_forgotten_together(bank, participant, branch, monkeypatch):
    branches = [branch._replace(transaction=f"{branch.transaction}{digit}") for digit in "123"]
    for each in branches:
        assert await participant.abort(each) is Answer.ABORTED
    together, forget_all = [], participant.forget_all

    async def counted(batch):
        together.append(len(batch))
        await forget_all(batch)

    monkeypatch.setattr(participant._forgotten, "_call", counted)
    async with anyio.create_task_group() as group:
        for each in branches:
            group.start_soon(participant.forget, each)
    assert together == [3]
    assert bank.run(f"SELECT * FROM recipes_branches WHERE branch LIKE '%{branch.transaction}%'") == []


async def test_marks_of_branches_that_ended_long_ago_are_named(bank, participant, branch):
    assert await participant.abort(branch) is Answer.ABORTED
    assert branch not in await participant.marks(86_400.0)
    bank.run("UPDATE recipes_branches SET ended = ended - INTERVAL '3' DAY")
    assert branch in await participant.marks(86_400.0)
    await participant.forget(branch)
    assert branch not in await participant.marks(86_400.0)


async def test_a_branch_that_is_at_work_elsewhere_is_unknown(bank, participant, other, branch):
    await take_ten(participant, branch)
    assert await other.commit(branch) is Answer.UNKNOWN
    assert await other.prepare(branch) is Answer.REFUSED
    assert await participant.abort(branch) is Answer.ABORTED


async def test_a_branch_that_only_read_holds_nothing_when_its_end_is_told(bank, participant, other, branch):
    sql = await participant.begin(branch)
    assert await sql.execute("SELECT balance FROM accounts ORDER BY name") == [(100,), (100,)]
    answer = await participant.prepare(branch)
    if answer is Answer.READ_ONLY:
        assert await participant.recover() == []
        return
    assert answer is Answer.PREPARED  # nothing tells there that nothing was changed: it is a branch like others
    assert await other.commit(branch) is Answer.COMMITTED
    assert await other.recover() == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_is_prepared_outlives_a_kill_of_the_server_with_its_locks(bank, participant, other, branch):
    await take_ten(participant, branch)
    assert await participant.prepare(branch) is Answer.PREPARED
    assert await participant.recover() == [branch]  # on a connection that is kept
    for _ in range(2):
        await anyio.to_thread.run_sync(bank.server.restart)
    assert await other.recover() == [branch]
    reading, second = (branch._replace(transaction=f"{branch.transaction}{digit}") for digit in "12")
    reader = await other.begin(reading)
    assert await reader.execute("SELECT balance FROM accounts WHERE name = 'a'") == [(100,)]
    limit = "innodb_lock_wait_timeout = 1" if isinstance(bank, MariaDbBank) else "lock_timeout = 1000"
    await reader.execute(f"SET {limit}")
    with pytest.raises(bank.driver.OperationalError):
        await reader.execute("UPDATE accounts SET balance = 0 WHERE name = 'a'")
    assert await other.abort(reading) is Answer.ABORTED
    assert await other.commit(branch) is Answer.COMMITTED
    # The connections of before are gone, and nobody notices.
    await take_ten(participant, second)
    assert await participant.prepare(second) is Answer.PREPARED
    assert await participant.commit(second) is Answer.COMMITTED
    assert bank.balance() == 80


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_restart_of_mariadb_and_none_of_postgres_frees_rows_that_were_only_locked(
    bank, participant, other, branch
):
    sql = await participant.begin(branch)
    await sql.execute("SELECT balance FROM accounts WHERE name = 'b' FOR UPDATE")
    await sql.execute("UPDATE accounts SET balance = balance - 10 WHERE name = 'a'")
    assert await participant.prepare(branch) is Answer.PREPARED
    assert not is_free(bank, "a") and not is_free(bank, "b")
    await anyio.to_thread.run_sync(bank.server.restart)
    assert not is_free(bank, "a")
    assert is_free(bank, "b") is isinstance(bank, MariaDbBank)
    assert await other.commit(branch) is Answer.COMMITTED
    assert is_free(bank, "a") and is_free(bank, "b")
    with suppress(bank.driver.OperationalError):
        await participant.recover()  # its connection of before the restart is gone


def is_free(bank, name):
    """Whether nobody has a lock on the row."""
    try:
        return bool(bank.run(f"SELECT 1 FROM accounts WHERE name = '{name}' FOR UPDATE NOWAIT"))
    except bank.driver.OperationalError:
        return False


async def until_free(bank):
    """Return once nobody has a lock on the row b."""

    async def unlocked():
        return is_free(bank, "b")

    await eventually(unlocked)


async def cancel_a_statement(bank, sql):
    """When it waits for a lock that another branch holds."""

    async def waits():
        if isinstance(bank, MariaDbBank):
            # Not innodb_trx: whoever asks for it more often than each 0.1 s is shown what it was at first.
            return bank.run("SELECT 1 FROM information_schema.processlist WHERE state = 'Updating'")
        return bank.run("SELECT 1 FROM pg_locks WHERE NOT granted")

    async with anyio.create_task_group() as group:
        group.start_soon(sql.execute, "UPDATE accounts SET balance = 1 WHERE name = 'a'")
        await eventually(waits)
        group.cancel_scope.cancel()


async def test_a_statement_that_was_cancelled_ends_and_its_branch_cannot_commit(bank, participant, branch):
    held = branch._replace(transaction=f"{branch.transaction}1")
    await take_ten(participant, held)
    sql = await participant.begin(branch)
    await sql.execute("UPDATE accounts SET balance = 0 WHERE name = 'b'")
    await cancel_a_statement(bank, sql)
    # The generic extension cannot interrupt it: it ends with the lock it waits for.
    if isinstance(bank, TpcBank):
        assert await participant.abort(branch) is Answer.UNKNOWN
        assert await participant.abort(held) is Answer.ABORTED

    async def aborted():
        return await participant.abort(branch) is Answer.ABORTED

    await eventually(aborted)
    assert await participant.prepare(branch) is Answer.REFUSED
    if not isinstance(bank, TpcBank):
        assert await participant.prepare(held) is Answer.PREPARED
        assert await participant.abort(held) is Answer.ABORTED
    assert bank.run("SELECT balance FROM accounts ORDER BY name") == [(100,), (100,)]
    with pytest.raises(RuntimeError, match="the branch has ended"):
        await sql.execute("SELECT 1")


async def test_a_branch_that_is_aborted_while_its_statement_runs_ends_with_the_statement(bank, participant, branch):
    """Also if nobody asks again: without a record only its own coordinator does, and no more than a few times."""
    held = branch._replace(transaction=f"{branch.transaction}1")
    await take_ten(participant, held)
    sql = await participant.begin(branch)
    await sql.execute("UPDATE accounts SET balance = 0 WHERE name = 'b'")
    await cancel_a_statement(bank, sql)
    await participant.abort(branch)
    assert await participant.abort(held) is Answer.ABORTED

    await until_free(bank)


async def test_an_abort_that_is_cancelled_at_once_ends_the_work_all_the_same(bank, participant, branch):
    """As where the process stood still for longer than the abort may take, and nobody asks again."""
    sql = await participant.begin(branch)
    await sql.execute("UPDATE accounts SET balance = 0 WHERE name = 'b'")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await participant.abort(branch)

    await until_free(bank)


async def test_a_statement_that_was_cancelled_is_no_part_of_a_commit(bank, participant, branch):
    """Though it may have been carried out: the block does not know."""
    held = branch._replace(transaction=f"{branch.transaction}1")
    await take_ten(participant, held)
    sql = await participant.begin(branch)
    await cancel_a_statement(bank, sql)
    assert await participant.abort(held) is Answer.ABORTED
    assert await participant.prepare(branch) is Answer.REFUSED
    assert await participant.abort(branch) is Answer.ABORTED
    assert bank.balance() == 100


@pytest.mark.parametrize("bank", ["tpc", "mariadb"], indirect=True)  # PostgreSQL's own waits in no thread
async def test_u38_a_prepare_that_was_cancelled_is_found_by_its_id(bank, participant, other, branch, monkeypatch):
    """Nobody knows the vote: the connection is not used again, and whoever asks by the id learns what came of it."""
    prepare, asked, go_on = participant._database.prepare, anyio.Event(), threading.Event()

    def slowly(connection, branch):
        anyio.from_thread.run_sync(asked.set)
        go_on.wait(SECONDS)
        return prepare(connection, branch)

    monkeypatch.setattr(participant._database, "prepare", slowly)
    await take_ten(participant, branch)
    async with anyio.create_task_group() as group:
        group.start_soon(participant.prepare, branch)
        with anyio.fail_after(SECONDS):
            await asked.wait()
        group.cancel_scope.cancel()
    assert await other.prepare(branch) is Answer.REFUSED
    go_on.set()

    async def prepared():
        return await other.recover() == [branch]

    await eventually(prepared)

    async def committed():
        return await other.commit(branch) is Answer.COMMITTED

    await eventually(committed)
    assert bank.balance() == 90


@pytest.mark.parametrize("bank", ["tpc", "mariadb"], indirect=True)  # as above
async def test_a_begin_that_was_cancelled_leaves_no_connection_behind(bank, participant, branch, monkeypatch):
    begin, asked, go_on, done = participant._database.begin, anyio.Event(), threading.Event(), threading.Event()
    connections = []

    def slowly(connection, branch):
        anyio.from_thread.run_sync(asked.set)
        go_on.wait(SECONDS)
        begin(connection, branch)
        connections.append(connection)
        done.set()

    monkeypatch.setattr(participant._database, "begin", slowly)
    async with anyio.create_task_group() as group:
        group.start_soon(participant.begin, branch)
        with anyio.fail_after(SECONDS):
            await asked.wait()
        group.cancel_scope.cancel()
    assert await participant.abort(branch) is Answer.ABORTED
    go_on.set()

    async def closed():
        if not done.is_set():
            return False
        try:
            connections[0].cursor().execute("SELECT 1")
        except Exception:
            return True
        return False

    await eventually(closed)
    assert not participant._working


@pytest.mark.parametrize(
    "bad",
    [
        {"participant": "it's"},
        {"participant": ""},
        {"participant": "p" * 65},
        {"transaction": "t" * 60},
        {"fleet": "é"},
    ],
)
async def test_an_id_that_some_database_would_not_take_is_named(participant, bad):
    branch = BranchId("0000abcd", "1-1", "bank")._replace(**bad)
    for method in (participant.begin, participant.prepare, participant.commit, participant.abort, participant.forget):
        with pytest.raises(BadArguments, match="expected letters, digits"):
            await method(branch)


async def test_ids_that_differ_in_case_are_two(bank, participant, branch):
    lower = branch._replace(participant="bank")
    await take_ten(participant, branch)
    assert await participant.prepare(branch) is Answer.PREPARED
    sql = await participant.begin(lower)
    await sql.execute("UPDATE accounts SET balance = 50 WHERE name = 'b'")
    assert await participant.prepare(lower) is Answer.PREPARED
    assert await participant.commit(branch) is Answer.COMMITTED
    assert await participant.abort(lower) is Answer.ABORTED
    assert bank.run("SELECT balance FROM accounts ORDER BY name") == [(90,), (100,)]


async def test_a_transaction_over_two_kinds_of_database_commits_in_both_or_in_none(postgres, mariadb, client, root):
    banks = {"postgres": PostgresBank(postgres), "tpc": TpcBank(postgres), "mariadb": MariaDbBank(mariadb)}
    for bank in (banks["postgres"], banks["mariadb"]):
        bank.set_up()
    parties = {name: bank.participant() for name, bank in banks.items()}
    async with Coordinator(client, root, participants=parties) as coordinator:

        async def move(amount, protocol):
            async with coordinator.begin(protocol=protocol, deadline=SECONDS) as tx:
                for name, change, account in (("mariadb", amount, "a"), ("tpc", 1, "b"), ("postgres", -amount, "a")):
                    sql = await tx.enlist(name)
                    await sql.execute(f"UPDATE accounts SET balance = balance + %s WHERE name = '{account}'", [change])
            assert tx.outcome == "commit"

        with anyio.fail_after(SECONDS):
            for protocol in ("2pc", "3pc"):
                await move(30, protocol)
            assert (banks["postgres"].balance(), banks["mariadb"].balance()) == (40, 160)
            with pytest.raises(psycopg.errors.CheckViolation):
                await move(50, "2pc")
            with pytest.raises(TransactionAborted, match="time is up"):
                async with coordinator.begin(deadline=0.5) as tx:
                    await (await tx.enlist("mariadb")).execute("UPDATE accounts SET balance = 0")
                    await anyio.sleep_forever()

        async def undone():
            return not any([await party.recover() for party in parties.values()])

        await eventually(undone)
    assert [bank.run("SELECT balance FROM accounts ORDER BY name") for bank in banks.values()] == [
        [(40,), (102,)], [(40,), (102,)], [(160,), (100,)],
    ]  # fmt: skip
    for party in parties.values():
        await party.aclose()
