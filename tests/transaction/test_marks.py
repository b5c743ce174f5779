"""Marks that a dead coordinator left with participants go, once nobody can ask for them."""

import anyio
import pytest

from recipes import MemoryParticipant, ParticipantError, connect, participant_app
from recipes.transaction.branch import Request
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.marks import OLD_SECONDS, forget_old
from recipes.transaction.participant import BranchId
from tests.queue.conftest import SECONDS, until
from tests.transaction.faults import doing
from tests.transaction.services import raw, reached
from tests.transaction.unproved import commit_unproved

pytestmark = pytest.mark.anyio


class Keeping(MemoryParticipant):
    """One whose marks are all old."""

    async def marks(self, older):
        assert older == OLD_SECONDS
        return list(self.states)


class Away(MemoryParticipant):
    async def marks(self, older):
        raise OSError("away")


async def test_old_marks_go_unless_there_is_a_record_or_they_are_of_others(client, root):
    parties = {"a": Keeping(), "b": Away()}
    async with Coordinator(client, root, participants=parties) as coordinator:
        gone, there = BranchId(coordinator.fleet, "1-0", "a"), BranchId(coordinator.fleet, "1-1", "a")
        foreign, misnamed = BranchId("00000000", "1-0", "a"), BranchId(coordinator.fleet, "1-0", "c")
        for branch in (gone, there, foreign, misnamed):
            await parties["a"].abort(branch)
        records = f"{root}/default/records"
        await client.create(f"{records}/1-1", b"of somebody")
        await forget_old(client, records, parties, coordinator.fleet)
        assert parties["a"].states.keys() == {there, foreign, misnamed}
        await client.delete(f"{records}/1-1")


async def test_marks_behind_a_service_go_too(client, root, service):
    behind = Keeping()
    service.app = participant_app(behind, name="svc", token="s3cret")
    async with reached(service.url, token="s3cret") as remote:
        async with Coordinator(client, root, participants={"svc": remote}) as coordinator:
            gone = [BranchId(coordinator.fleet, f"1-{number:x}", "svc") for number in range(40)]
            foreign = BranchId("00000000", "1-0", "svc")
            for branch in (*gone, foreign):
                await behind.abort(branch)
            await forget_old(client, f"{root}/default/records", {"svc": remote}, coordinator.fleet)
            assert behind.states.keys() == {foreign}
        service.app = participant_app(MemoryParticipant(), token="s3cret")
        assert await remote.marks(OLD_SECONDS) == []  # it has none that stay
        service.app = participant_app(Away(), token="s3cret")
        with pytest.raises(ParticipantError, match="500: OSError: away"):
            await remote.marks(OLD_SECONDS)


async def test_a_service_with_very_many_marks_names_some_and_at_last_all(service, monkeypatch):
    monkeypatch.setattr("recipes.transaction.service._MOST_MARKS", 3)
    behind = Keeping()
    service.app = participant_app(behind)
    for number in range(10):
        await behind.abort(BranchId("0000abcd", f"1-{number:x}", "svc"))
    async with reached(service.url) as remote:
        looks = 0
        while behind.states:
            found = await remote.marks(OLD_SECONDS)
            assert len(found) == min(3, len(behind.states))
            for branch in found:
                await remote.forget(branch)
            looks += 1
    assert looks == 4


@pytest.mark.parametrize("path", ["/marks", "/marks/-1", "/marks/ten", "/marks/1e9", "/marks/1/2"])
async def test_a_service_that_is_asked_for_marks_in_other_words_has_nothing_there(path):
    assert (await raw(participant_app(Keeping()), "GET", path))[0] == 404
    assert (await raw(participant_app(Keeping()), "POST", "/marks/1"))[0] == 405


async def test_a_participant_that_is_slow_to_forget_keeps_no_transaction_from_being_recovered(
    hosts, client, root, monkeypatch
):
    class Slow(Keeping):
        async def marks(self, older):
            asked.set()
            await anyio.sleep_forever()

    async def raises():
        raise OSError("away")

    asked = anyio.Event()
    monkeypatch.setattr("recipes.transaction.recovery._FIRST_MARKS_SECONDS", 0)
    monkeypatch.setattr("recipes.transaction.asking.ASK_SECONDS", SECONDS)
    parties = {"a": Slow(), "b": MemoryParticipant(before=doing(Request.COMMIT, raises))}
    async with connect(hosts) as dying, Coordinator(client, root, participants=parties):
        with anyio.fail_after(SECONDS):
            await asked.wait()
            async with Coordinator(dying, root, participants=parties, serve=False) as coordinator:
                await commit_unproved(coordinator, {name: {"x": 1} for name in parties})
            parties["b"].before = None

            async def over():
                return not await client.children(f"{root}/default/records")

            await until(over)
