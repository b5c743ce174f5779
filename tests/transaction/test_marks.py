"""Marks that a dead coordinator left with participants go, once nobody can ask for them."""

import pytest

from recipes import MemoryParticipant
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.marks import OLD_SECONDS, forget_old
from recipes.transaction.participant import BranchId

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
