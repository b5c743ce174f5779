"""Participants that are enlisted until behind the end of the block, by a task that outlives it."""

import anyio
import pytest

from recipes import TransactionAborted
from recipes.transaction.branch import Answer, Request
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.memory import MemoryParticipant
from tests.queue.conftest import SECONDS, until
from tests.transaction.faults import doing

pytestmark = pytest.mark.anyio


def two():
    return {"a": MemoryParticipant(), "b": MemoryParticipant()}


async def test_a_participant_that_is_opened_until_behind_the_block_takes_no_part(client, root):
    parties = two()
    preparing, refused = anyio.Event(), anyio.Event()

    async def hold(*_):
        preparing.set()
        await refused.wait()

    parties["a"].before = doing(Request.PREPARE, hold)
    async with Coordinator(client, root, participants=parties) as coordinator:
        ensure = coordinator._openings.ensure

        async def ensure_late(name):
            if name == "b":
                await preparing.wait()
            await ensure(name)

        coordinator._openings.ensure = ensure_late
        asked = anyio.Event()

        async def enlist_late(tx):
            asked.set()
            with pytest.raises(RuntimeError, match="the block ended while the participant 'b' was being opened"):
                await tx.enlist("b")
            refused.set()

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group, coordinator.begin(deadline=SECONDS) as tx:
                (await tx.enlist("a"))["x"] = 1
                group.start_soon(enlist_late, tx)
                await asked.wait()
    assert (tx.outcome, dict(tx.unsettled), parties["a"].values) == ("commit", {}, {"x": 1})


class SlowToBegin(MemoryParticipant):
    """A participant whose `begin` can be held up."""

    def __init__(self):
        super().__init__()
        self.begins = []

    async def begin(self, branch):
        if self.begins:
            asked, go_on = self.begins.pop()
            asked.set()
            await go_on.wait()
        return await super().begin(branch)


async def test_a_branch_that_begins_behind_the_block_is_undone(client, root):
    parties = two() | {"b": SlowToBegin()}
    asked, go_on = anyio.Event(), anyio.Event()
    parties["b"].begins.append((asked, go_on))

    async def enlist_late(tx):
        with pytest.raises(RuntimeError, match="the block ended while the participant 'b' began its branch"):
            await tx.enlist("b")

    async with Coordinator(client, root, participants=parties) as coordinator:
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                with pytest.raises(TransactionAborted, match="b: "):
                    async with coordinator.begin(deadline=SECONDS) as tx:
                        (await tx.enlist("a"))["x"] = 1
                        group.start_soon(enlist_late, tx)
                        await asked.wait()
                go_on.set()
    assert (tx.outcome, parties["b"]._working, parties["a"].values) == ("abort", {}, {})


async def test_a_second_begin_behind_the_block_undoes_nothing_that_was_voted_for(client, root):
    parties = {"a": SlowToBegin()}
    asked, go_on = anyio.Event(), anyio.Event()
    last = []

    async def enlist_late(tx):
        with pytest.raises(RuntimeError, match="began its branch"):
            await tx.enlist("a")

    async def vote():
        go_on.set()
        await anyio.wait_all_tasks_blocked()  # the second begin is through, and nothing is decided
        last.append(parties["a"].requests[-1][0])

    parties["a"].after = doing(Request.PREPARE, vote)
    async with Coordinator(client, root, participants=parties) as coordinator:
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group, coordinator.begin(deadline=SECONDS) as tx:
                (await tx.enlist("a"))["x"] = 1
                parties["a"].begins.append((asked, go_on))
                group.start_soon(enlist_late, tx)
                await asked.wait()
    assert (tx.outcome, last, parties["a"].values) == ("commit", [Request.PREPARE], {"x": 1})


async def test_a_branch_that_begins_behind_the_block_is_undone_though_its_task_is_cancelled(client, root):
    class BeginsAllTheSame(SlowToBegin):
        async def begin(self, branch):
            try:
                return await super().begin(branch)
            finally:
                self._working.setdefault(branch, {})

    parties = two() | {"b": BeginsAllTheSame()}
    asked = anyio.Event()
    parties["b"].begins.append((asked, anyio.Event()))

    async def is_undone():
        return not parties["b"]._working

    async with Coordinator(client, root, participants=parties) as coordinator:
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                with pytest.raises(TransactionAborted, match="b: "):
                    async with coordinator.begin(deadline=SECONDS) as tx:
                        (await tx.enlist("a"))["x"] = 1
                        group.start_soon(tx.enlist, "b")
                        await asked.wait()
                group.cancel_scope.cancel()
        assert parties["b"].requests[-1][0] is Request.ABORT
        await until(is_undone)


async def test_a_second_begin_of_a_branch_that_voted_read_only_is_undone_though_its_task_is_cancelled(client, root):
    """Its participant is not told of the abort: it has nothing to undo, as far as its vote says."""
    parties = two() | {"b": SlowToBegin()}
    asked, go_on, voted, cancelled = (anyio.Event() for _ in range(4))

    async def vote():
        voted.set()

    async def refuse():
        await cancelled.wait()
        return Answer.REFUSED

    parties["a"].before, parties["b"].after = doing(Request.PREPARE, refuse), doing(Request.PREPARE, vote)

    async def enlist_late(tx):
        with anyio.CancelScope() as scope:
            group.start_soon(cancel, scope)
            await tx.enlist("b")
        cancelled.set()

    async def cancel(scope):
        await voted.wait()
        go_on.set()
        await anyio.wait_all_tasks_blocked()  # the second begin is through, and nothing is decided
        assert parties["b"]._working
        scope.cancel()

    async def is_undone():
        return not parties["b"]._working

    async with Coordinator(client, root, participants=parties) as coordinator:
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                with pytest.raises(TransactionAborted, match="a: "):
                    async with coordinator.begin(deadline=SECONDS) as tx:
                        (await tx.enlist("a"))["x"] = 1
                        await tx.enlist("b")
                        parties["b"].begins.append((asked, go_on))
                        group.start_soon(enlist_late, tx)
                        await asked.wait()
        await until(is_undone)
