"""Transactions whose session ends before anybody was asked to prepare: their work is undone here, since no other
coordinator reaches what is at work in this process."""

import anyio
import pytest

from recipes import TransactionAborted, connect
from recipes.testing.expire import expire_session
from recipes.transaction.branch import BranchState, Request
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.memory import MemoryParticipant
from tests.queue.conftest import SECONDS
from tests.transaction.faults import doing

pytestmark = pytest.mark.anyio


def two():
    return {"a": MemoryParticipant(), "b": MemoryParticipant()}


def hang_while(stage, coordinator, parties, hang):
    """Let the transaction go no further than it is asking whether all can commit, or is recording who takes part."""
    if stage == "asking":
        parties["b"].before = doing(Request.CAN_COMMIT, hang)
    else:
        coordinator._records.write = hang


@pytest.mark.parametrize("stage", ["asking", "recording"])
async def test_work_that_nobody_else_knows_of_is_undone_when_the_session_is_lost(hosts, root, stage):
    """Or a connection would hold its locks for as long as the process lives: no record tells of it."""
    parties = two()
    there = anyio.Event()

    async def hang(*_):
        there.set()
        await anyio.sleep_forever()

    async with connect(hosts) as client:
        coordinator = Coordinator(client, root, participants=parties)
        await coordinator.__aenter__()
        hang_while(stage, coordinator, parties, hang)
        async with anyio.create_task_group() as group:

            async def transact():
                with pytest.raises(TransactionAborted):
                    async with coordinator.begin(protocol="3pc", deadline=60) as tx:
                        (await tx.enlist("a"))["x"] = 1
                        (await tx.enlist("b"))["x"] = 2

            group.start_soon(transact)
            with anyio.fail_after(SECONDS):
                await there.wait()
            await expire_session(client, hosts)
    for party in parties.values():
        assert [request for request, _ in party.requests][-1:] == [Request.ABORT]
        assert set(party.states.values()) == {BranchState.ABORTED}


@pytest.mark.parametrize("cancelled", ["before the record", "while the record is written"])
async def test_work_of_a_cancelled_block_is_undone_when_the_session_is_lost_while_abort_is_decided(
    hosts, root, cancelled
):
    """Whoever recovers the record, if there is one, reaches what is prepared, and not what is at work here."""
    parties = two()
    writing, write_on, deciding = anyio.Event(), anyio.Event(), anyio.Event()

    async with connect(hosts) as client:
        coordinator = Coordinator(client, root, participants=parties)
        await coordinator.__aenter__()
        write = coordinator._records.write

        async def write_late(*arguments):
            writing.set()
            await write_on.wait()
            return await write(*arguments)

        async def hang(*_):
            deciding.set()
            await anyio.sleep_forever()

        coordinator._records.write, coordinator._records.decide = write_late, hang

        async def transact(scope):
            with scope:
                async with coordinator.begin(deadline=60) as tx:
                    (await tx.enlist("a"))["x"] = 1
                    (await tx.enlist("b"))["x"] = 2
                    if cancelled == "before the record":
                        scope.cancel()

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                scope = anyio.CancelScope()
                group.start_soon(transact, scope)
                if cancelled != "before the record":
                    await writing.wait()
                    scope.cancel()
            write_on.set()
            await deciding.wait()
        await expire_session(client, hosts)
    for party in parties.values():
        assert [request for request, _ in party.requests] == [Request.ABORT]
        assert set(party.states.values()) == {BranchState.ABORTED}


@pytest.mark.parametrize("stage", ["asking", "recording"])
async def test_a_client_that_is_closed_before_anybody_was_asked_to_prepare_leaves_nothing_in_doubt(hosts, root, stage):
    parties = two()
    there = anyio.Event()
    raised = []

    async def hang(*_):
        there.set()
        await anyio.sleep_forever()

    async def transact(coordinator):
        try:
            async with coordinator.begin(protocol="3pc", deadline=60) as tx:
                (await tx.enlist("a"))["x"] = 1
                (await tx.enlist("b"))["x"] = 2
        except Exception as error:
            raised.append(error)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group, connect(hosts) as client:
            coordinator = Coordinator(client, root, participants=parties)
            await coordinator.__aenter__()
            hang_while(stage, coordinator, parties, hang)
            group.start_soon(transact, coordinator)
            await there.wait()
    assert [type(error) for error in raised] == [TransactionAborted]
    for party in parties.values():
        assert [request for request, _ in party.requests][-1:] == [Request.ABORT]
