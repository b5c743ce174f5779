"""Requests to participants whose own work was cancelled: that is an answer, and no cancellation of the one who asks."""

import asyncio

import anyio
import pytest

from recipes import TransactionAborted
from recipes.transaction import asking
from recipes.transaction.branch import Answer, Request
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.memory import MemoryParticipant
from recipes.transaction.participant import BranchId
from tests.queue.conftest import SECONDS
from tests.transaction.faults import doing

pytestmark = pytest.mark.anyio
BRANCH = BranchId("0000abcd", "1-1", "a")


@pytest.fixture
def anyio_backend():
    return "asyncio"  # trio has no such exception


async def cancelled():
    """As a driver does whose own task was cancelled, by the end of its pool for one."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def test_a_cancellation_that_comes_from_the_participant_is_no_answer():
    reply = await asking.ask(MemoryParticipant(before=doing(Request.COMMIT, cancelled)), BRANCH, "commit")
    assert (reply.answer, reply.why) == (Answer.UNKNOWN, "CancelledError: ")


async def test_a_cancellation_of_the_one_who_asks_goes_on():
    with anyio.move_on_after(0.01) as scope:
        await asking.call(MemoryParticipant(before=doing(Request.COMMIT, anyio.sleep_forever)), BRANCH, "commit")
    assert scope.cancelled_caught
    task = asyncio.create_task(
        asking.call(MemoryParticipant(before=doing(Request.COMMIT, anyio.sleep_forever)), BRANCH, "commit")
    )
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("name", ["a", "b"])
async def test_no_commit_counts_as_proved_because_something_was_cancelled(client, root, name):
    parties = {each: MemoryParticipant() for each in ("a", "b")}
    times = []

    async def cancelled_once():
        times.append(1)
        if len(times) == 1:
            await cancelled()

    parties[name].before = doing(Request.COMMIT, cancelled_once)
    async with Coordinator(client, root, participants=parties) as coordinator:
        with anyio.fail_after(SECONDS):
            async with coordinator.begin(deadline=SECONDS) as tx:
                for number, each in enumerate(parties):
                    (await tx.enlist(each))["x"] = number
        assert (tx.outcome, dict(tx.unsettled)) == ("commit", {})
    assert [each.values for each in parties.values()] == [{"x": 0}, {"x": 1}]


@pytest.mark.parametrize("name", ["a", "b"])
async def test_a_vote_that_was_cancelled_at_the_participant_aborts(client, root, name):
    parties = {each: MemoryParticipant() for each in ("a", "b")}
    parties[name].before = doing(Request.PREPARE, cancelled)
    async with Coordinator(client, root, participants=parties) as coordinator:
        with anyio.fail_after(SECONDS), pytest.raises(TransactionAborted, match=f"{name}: CancelledError"):
            async with coordinator.begin(deadline=SECONDS) as tx:
                for each in parties:
                    (await tx.enlist(each))["x"] = 1
    assert tx.outcome == "abort"
