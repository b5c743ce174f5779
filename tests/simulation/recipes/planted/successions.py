"""In weights, hand-overs and latches of elections."""

from typing import Any

from recipes.core.errors import NoNode
from recipes.election import candidate
from recipes.election.candidate import RESIGNED, Candidate
from recipes.election.latch import LeaderLatch
from recipes.hold import Tenure
from tests.simulation.recipes.planted.bug import Patch, planted


@planted("succession", 3, "R8")
def an_appointed_candidate_gives_way(patch: Patch) -> None:
    original = candidate.gives_way
    patch.setattr(candidate, "gives_way", lambda name, order, stored: original(name, order, b""))


@planted("succession", 2, "R8")
def a_leader_hands_over_before_the_others_gave_way(patch: Patch) -> None:
    async def let_by(self: Candidate, name: str) -> bool:
        return True

    patch.setattr(Candidate, "_let_by", let_by)


@planted("succession", 8, "R8")
def a_leader_that_hands_over_leads_on_meanwhile(patch: Patch) -> None:
    """And the next one begins before it is told."""
    original = Candidate.hand_over

    async def hand_over(self: Candidate, to: str, within: float) -> bool:
        ended, self.ended = self.ended, type("Later", (), {"is_set": lambda _: False, "set": lambda *_, **__: None})()
        try:
            return await original(self, to, within)
        finally:
            self.ended = ended
            ended.set(RESIGNED)

    patch.setattr(Candidate, "hand_over", hand_over)


@planted("succession", 1, "R8")
def weights_are_looked_at_on_joining_only(patch: Patch) -> None:
    async def line(self: Candidate) -> list[str]:
        order = await super(Candidate, self)._line()
        while self._unread:
            self._unread = False
            try:
                stored, _ = await self.client.get(self.path)
            except NoNode:
                break
            if candidate.gives_way(self._name, order, stored):
                order = await self._requeue()
        return order

    patch.setattr(Candidate, "_line", line)


@planted("succession", 1, "R8")
def who_gives_way_keeps_its_fence(patch: Patch) -> None:
    original = Candidate._requeue

    async def requeue(self: Candidate) -> list[str]:
        fence = self.fence
        order = await original(self)
        self.fence = fence
        return order

    patch.setattr(Candidate, "_requeue", requeue)


@planted("succession", 2, "L3")
def who_gives_way_leaves_its_znode(patch: Patch) -> None:
    async def requeue(self: Candidate) -> list[str]:
        self.path = ""
        return await self.join()

    patch.setattr(Candidate, "_requeue", requeue)


@planted("succession", 7, "R8")
def a_latch_says_what_it_was_told_last(patch: Patch) -> None:
    """It does not look at the clock, nor at the event that is set first."""
    patch.setattr(LeaderLatch, "term", property(lambda self: self._term))


@planted("succession", 2, "L3")
def who_resigns_leaves_its_znode(patch: Patch) -> None:
    original = Tenure.release

    async def release(self: Any, why: str) -> None:
        self.asked = False
        await original(self, why)

    patch.setattr(Candidate, "release", release)
