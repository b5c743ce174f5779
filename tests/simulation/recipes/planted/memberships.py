"""In groups and presences."""

from recipes.membership.presence import Presence, _Place
from tests.simulation.recipes.planted.bug import Patch, planted


@planted("membership", 5, "L3")
def who_was_evicted_stays_away(patch: Patch) -> None:
    original = Presence._start

    def start(self: Presence) -> None:
        if self._gone is None:
            original(self)

    patch.setattr(Presence, "_start", start)


@planted("membership", 1, "R2")
def a_znode_that_stands_there_is_taken_for_ours(patch: Patch) -> None:
    async def is_ours(self: _Place) -> bool:
        stat = await self.client.exists(self._at)
        if stat is None:
            return False
        self._take(stat.czxid)
        return True

    patch.setattr(_Place, "_is_ours", is_ours)
