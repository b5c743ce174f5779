"""A participant that is away when its coordinator begins keeps nobody else waiting; one that is wrong is an error."""

import logging

import anyio
import anyio.lowlevel
import pytest

from recipes import (
    BadArguments,
    ConfigError,
    Coordinator,
    DiskError,
    MemoryParticipant,
    ParticipantError,
    SessionExpired,
    TransactionAborted,
)
from recipes.transaction import asking, opening
from recipes.transaction.branch import Request
from recipes.transaction.opening import Opening, is_away
from tests.queue.conftest import SECONDS, until
from tests.transaction.faults import doing
from tests.transaction.unproved import commit_unproved

pytestmark = pytest.mark.anyio


class Opened(MemoryParticipant):
    """errors: what its next tries to open raise, the last of them again and again; None where it opens."""

    def __init__(self, *errors, **options):
        super().__init__(**options)
        self.errors = list(errors)
        self.tries = 0

    async def open(self):
        self.tries += 1
        await anyio.lowlevel.checkpoint()
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error is not None:
            raise error


class Hanging(MemoryParticipant):
    async def open(self):
        await anyio.sleep_forever()


@pytest.fixture
def quick(monkeypatch):
    """It is tried again soon."""
    monkeypatch.setattr(opening, "_SHORTEST_SECONDS", 0.01)
    monkeypatch.setattr(opening, "_LONGEST_SECONDS", 0.01)


async def test_others_commit_while_one_is_away_and_it_takes_part_once_it_is_back(client, root, caplog):
    caplog.set_level(logging.INFO, "recipes.transaction")
    away = ConnectionRefusedError("nobody listens")
    parties = {"a": MemoryParticipant(), "b": Opened(away), "c": MemoryParticipant()}
    async with Coordinator(client, root, participants=parties) as coordinator:
        assert coordinator.stats().away == 1
        async with coordinator.begin() as tx:
            (await tx.enlist("a"))["x"] = 1
            (await tx.enlist("c"))["x"] = 2
        assert (parties["a"].values, parties["c"].values) == ({"x": 1}, {"x": 2})
        with pytest.raises(ParticipantError, match=r"b \(ConnectionRefusedError: nobody listens"):
            async with coordinator.begin() as tx:
                (await tx.enlist("a"))["x"] = 3
                await tx.enlist("b")
        assert parties["a"].values == {"x": 1}
        async with coordinator.begin() as tx:
            (await tx.enlist("a"))["x"] = 4
            with pytest.raises(ParticipantError):
                await tx.enlist("b")  # the block goes on without it
        assert parties["a"].values == {"x": 4}
        parties["b"].errors = [None]
        async with coordinator.begin() as tx:  # at once, and not when it is tried again for itself
            (await tx.enlist("b"))["x"] = 5
        assert parties["b"].values == {"x": 5}
        assert coordinator.stats().away == 0
        assert "participants_away 0" in coordinator.stats().prometheus()
    told = [each for each in caplog.messages if each.startswith("the participant b ")]
    assert told == ["the participant b is away, its transactions wait: ConnectionRefusedError: nobody listens"]


async def test_each_change_is_logged_once(client, root, caplog, quick):
    caplog.set_level(logging.INFO, "recipes.transaction")
    wrong = ConfigError("max_prepared_transactions", 0, "more")
    errors = [*[OSError("away")] * 3, *[wrong] * 3, *[OSError("away")] * 2, None]
    parties = {"a": MemoryParticipant(), "b": Opened(*errors)}
    b = "the participant b"
    async with Coordinator(client, root, participants=parties) as coordinator:

        async def opened():
            return not coordinator.stats().away and f"{b} is back, its transactions go on" in caplog.messages

        with anyio.fail_after(SECONDS):
            await until(opened)
    told = [(each.levelname, each.getMessage()) for each in caplog.records if each.getMessage().startswith(b)]
    assert told == [
        ("WARNING", f"{b} is away, its transactions wait: OSError: away"),
        (
            "ERROR",
            f"{b} must be corrected, its transactions wait: ConfigError: max_prepared_transactions=0: expected more",
        ),
        ("WARNING", f"{b} is away, its transactions wait: OSError: away"),
        ("INFO", f"{b} is back, its transactions go on"),
    ]
    assert parties["b"].tries == len(errors)


@pytest.mark.parametrize(
    "error",
    [lambda: ConfigError("max_prepared_transactions", 0, "more"), lambda: TypeError("bug"), lambda: DiskError("taken")],
)
async def test_what_is_wrong_for_good_is_an_error_at_once_and_names_the_participant(client, root, error, monkeypatch):
    monkeypatch.setattr(asking, "ASK_SECONDS", 10 * SECONDS)
    error = error()
    parties = {"a": Hanging(), "b": Opened(error)}
    with anyio.fail_after(SECONDS), pytest.raises(type(error)) as caught:
        await Coordinator(client, root, participants=parties).__aenter__()
    assert caught.value.__notes__ == ["the participant 'b'"]
    assert await client.exists(f"{root}/default") is None


async def test_one_that_does_not_answer_keeps_nobody_waiting_for_long(client, root, monkeypatch):
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.05)
    parties = {"a": MemoryParticipant(), "b": Hanging()}
    async with Coordinator(client, root, participants=parties) as coordinator:
        with pytest.raises(ParticipantError, match=r"b \(TimeoutError: no answer within 0.05 s"):
            async with coordinator.begin(deadline=SECONDS) as tx:
                await tx.enlist("b")
        monkeypatch.setattr(asking, "ASK_SECONDS", SECONDS)
        with pytest.raises(TransactionAborted, match="time is up"):
            async with coordinator.begin(deadline=0.05) as tx:
                await tx.enlist("b")
    assert parties["b"].requests == []


async def test_what_a_dead_coordinator_left_is_ended_by_one_that_came_up_while_a_participant_was_away(
    hosts, client, root, quick
):
    from recipes import connect

    async def raises():
        raise OSError("away")

    parties = {"a": MemoryParticipant(), "b": Opened(None, before=doing(Request.COMMIT, raises))}
    async with connect(hosts) as dying:
        async with Coordinator(dying, root, participants=parties, serve=False) as coordinator:
            await commit_unproved(coordinator, {name: {"x": 1} for name in parties})
    parties["b"].errors = [OSError("away")]
    async with Coordinator(client, root, participants=parties) as coordinator:
        async with coordinator.begin() as tx:
            (await tx.enlist("a"))["y"] = 1
        assert coordinator.stats().away == 1
        parties["b"].errors, parties["b"].before = [None], None

        async def over():
            return not await client.children(f"{root}/default/records")

        with anyio.fail_after(SECONDS):
            await until(over)
        assert coordinator.stats().recovered == 1


async def test_a_participant_that_goes_away_later_is_named_too(client, root):
    class Database(MemoryParticipant):
        async def begin(self, branch):
            raise OperationalError("the server closed the connection\n\tunexpectedly")

    parties = {"a": MemoryParticipant(), "b": Database()}
    async with Coordinator(client, root, participants=parties) as coordinator:
        told = r"b \(OperationalError: the server closed the connection unexpectedly"
        with pytest.raises(ParticipantError, match=told) as caught:
            async with coordinator.begin() as tx:
                await tx.enlist("b")
        assert isinstance(caught.value.__cause__, OperationalError)
        with pytest.raises(ParticipantError, match=told):
            await coordinator.join("1-1", "b")


async def test_those_who_ask_at_the_same_time_share_one_try_and_one_that_is_cancelled_takes_none_along():
    class Slow(MemoryParticipant):
        def __init__(self):
            super().__init__()
            self.tries, self.may = 0, anyio.Event()

        async def open(self):
            self.tries += 1
            await self.may.wait()

    party = Slow()
    its = Opening("b", party)
    async with anyio.create_task_group() as waiting:
        first = anyio.CancelScope()

        async def cancelled():
            with first:
                await its.ensure()

        waiting.start_soon(cancelled)
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            waiting.start_soon(its.ensure)
        await anyio.wait_all_tasks_blocked()
        assert party.tries == 1
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        assert (party.tries, its.opened) == (2, False)
        party.may.set()
    assert (party.tries, its.opened) == (2, True)


class Error(Exception):
    """PEP 249's, as drivers have them."""


class OperationalError(Error):
    pass


class ProgrammingError(Error):
    pass


class InsufficientPrivilege(ProgrammingError):
    pass


def status(number):
    error = ParticipantError("http://x", "it answered")
    error.status = number
    return error


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (OperationalError(), True),
        (SessionExpired(), True),
        (status(None), True),
        (status(503), True),
        (status(429), True),
        (status(401), False),
        (status(404), False),
        (status(200), False),
        (InsufficientPrivilege(), False),
        (ConfigError("a", 0, "more"), False),
        (BadArguments("", "no"), False),
        (ImportError("psycopg"), False),
        (RuntimeError("a bug"), False),
    ],
)
def test_what_counts_as_being_away(error, away):
    assert is_away(error) is away
