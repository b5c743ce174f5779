"""What a dead coordinator left, on real servers: nothing that goes wrong with one part keeps the rest waiting."""

import json

import anyio
import pytest

from recipes.core.errors import ConnectionLoss, ThrottledOp, UnknownTransaction
from recipes.transaction.branch import Request
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.memory import MemoryParticipant
from recipes.transaction.participant import BranchId
from recipes.transaction.record import Decision, Record, Records
from recipes.transaction.recovery import Recovery
from recipes.transaction.stages import CommitProtocol
from tests.queue.conftest import SECONDS, until
from tests.transaction.faults import doing

pytestmark = pytest.mark.anyio


def two():
    return {"a": MemoryParticipant(), "b": MemoryParticipant()}


async def left_behind(client, root, transaction, participant):
    """A branch that is prepared, and whose coordinator has gone since it decided to commit."""
    branch = BranchId(json.loads((await client.get(f"{root}/default"))[0])["fleet"], transaction, participant.name)
    (await participant.begin(branch))["x"] = transaction
    await participant.prepare(branch)
    record = Record(transaction, CommitProtocol.TWO_PHASE, (participant.name,), "/gone", 1e6, Decision.COMMIT)
    await client.create(f"{root}/default/records/{transaction}", record.encode())


async def test_a_participant_that_hangs_keeps_no_other_transaction_waiting(client, root, monkeypatch):
    monkeypatch.setattr("recipes.transaction.asking.ASK_SECONDS", 1e6)
    parties = two()
    for name, party in parties.items():
        party.name = name
    hanging = anyio.Event()

    async def hang():
        hanging.set()
        await anyio.sleep_forever()

    parties["a"].before = doing(Request.COMMIT, hang)
    async with Coordinator(client, root, participants=parties):
        await left_behind(client, root, "1-1", parties["a"])
        with anyio.fail_after(SECONDS):
            await hanging.wait()
        await left_behind(client, root, "1-2", parties["b"])

        async def settled():
            return parties["b"].values

        await until(settled)
        assert not parties["a"].values


async def test_recovery_goes_on_when_a_busy_server_throttles_it(client, root, monkeypatch):
    parties = two()
    parties["a"].name = "a"
    throttled = []
    look = Recovery.look

    async def busy(self, *arguments):
        if len(throttled) < 2:
            throttled.append(self)
            raise ThrottledOp(root)
        await look(self, *arguments)

    monkeypatch.setattr(Recovery, "look", busy)
    async with Coordinator(client, root, participants=parties):
        await left_behind(client, root, "1-1", parties["a"])

        async def settled():
            return parties["a"].values

        await until(settled)
    assert len(throttled) == 2


async def test_what_is_settled_and_not_yet_removed_counts_once(client, root, monkeypatch):
    monkeypatch.setattr("recipes.transaction.recovery._GATHER_SECONDS", 2 * SECONDS)
    monkeypatch.setattr("recipes.transaction.recovery._LOOK_SECONDS", 0.01)
    parties, looks, look = two(), [], Recovery.look
    parties["a"].name = "a"

    async def counted(self, *arguments):
        await look(self, *arguments)
        looks.append(self.recovered)

    monkeypatch.setattr(Recovery, "look", counted)
    async with Coordinator(client, root, participants=parties) as coordinator:
        await left_behind(client, root, "1-1", parties["a"])

        async def looked_again():
            return len([recovered for recovered in looks if recovered]) > 4

        with anyio.fail_after(SECONDS):
            await until(looked_again)
        stats = coordinator.stats()
        assert (stats.left, stats.recovered) == (0, 1)
        assert [request for request, _ in parties["a"].requests] == [Request.PREPARE, Request.COMMIT]


async def test_a_recovery_whose_term_is_over_ends_nothing_and_raises_nothing(client, root):
    parties = two()
    async with Coordinator(client, root, participants=parties, serve=False) as coordinator:
        record = Record("1-1", CommitProtocol.TWO_PHASE, ("a",), "/gone", 60.0)
        await client.create(f"{root}/default/records/1-1", record.encode())
        async with anyio.create_task_group() as group:
            await coordinator._recovery.look(f"{root}/default/serving/gone", group)
        assert (await coordinator._records.read("1-1")).decision is None
        assert parties["a"].requests == []


async def test_a_change_that_is_lost_with_its_record_gone_since_is_no_unknown_transaction(client, root, monkeypatch):
    records = Records(client, root)
    await client.create(root)
    record = Record("1-ff", CommitProtocol.TWO_PHASE, ("a",), "/gone", 1e6)
    await client.create(records.path("1-ff"), record.encode())

    async def applied_settled_and_unheard(path, data, version):
        await client.delete(path)
        raise ConnectionLoss(path)

    monkeypatch.setattr(client, "set", applied_settled_and_unheard)
    with pytest.raises(ConnectionLoss):
        await records.join("1-ff", "b")


@pytest.mark.parametrize("decision", Decision)
async def test_a_record_that_was_read_and_is_gone_is_not_written_again(client, root, decision):
    """It was decided and settled meanwhile: a new one would tell of another decision, or stay for ever."""
    records = Records(client, root)
    await client.create(root)
    await client.create(records.path("1-fe"), Record("1-fe", CommitProtocol.TWO_PHASE, ("a",), "/gone", 1e6).encode())
    record = await records.read("1-fe")
    await client.delete(records.path("1-fe"))
    with pytest.raises(UnknownTransaction):
        await records.decide(record, decision, root)
    assert await client.children(root) == []


async def test_marks_of_settled_transactions_are_dropped_in_one_call_where_the_participant_has_one(
    client, root, monkeypatch
):
    monkeypatch.setattr("recipes.transaction.recovery._GATHER_SECONDS", 2 * SECONDS)  # until the coordinator ends

    class Together(MemoryParticipant):
        async def forget_all(self, branches):
            calls.append(branches)
            for branch in branches:
                await self.forget(branch)
            raise OSError("away")

    calls = []
    parties = {"a": Together(), "b": MemoryParticipant()}
    with anyio.fail_after(SECONDS):
        async with Coordinator(client, root, participants=parties) as coordinator:
            for names in ("ab", "a", "b"):
                async with coordinator.begin() as tx:
                    for name in names:
                        (await tx.enlist(name))[tx.id] = 1
    assert all(each.values and not each.states for each in parties.values())
    assert [[branch.participant for branch in branches] for branches in calls] == [["a", "a"]]
    assert await client.children(f"{root}/default/records") == []
