"""In barriers."""

from collections.abc import Collection, Sequence
from typing import Any

from recipes.barrier import rounds
from recipes.barrier.book import Book
from recipes.barrier.latch import CountDownLatch
from recipes.barrier.party import Party
from recipes.core.errors import NodeExists, NoNode
from tests.simulation.recipes.planted.bug import Patch, planted


@planted("barrier", 2, "R10")
def a_round_is_cleared_away_with_its_parties(patch: Patch) -> None:
    """We had it: the next round may be over while parties are in the one before it."""

    async def clear(self: Book, path: str) -> None:
        for name in await self._client.children(path):
            if name != rounds.OUT:
                await self._client.delete(f"{path}/{name}")

    patch.setattr(Book, "_clear", clear)


@planted("barrier", 1, "R10")
def the_gate_opens_one_party_early(patch: Patch) -> None:
    original = rounds.entering

    def entering(names: Any, me: str, seen: Any, parties: int, *rest: Any) -> rounds.Step:
        return original(names, me, seen, parties - 1, *rest)

    patch.setattr(rounds, "entering", entering)


@planted("barrier", 3, "R10")
def one_that_dies_inside_has_left(patch: Patch) -> None:
    original = rounds.leaving

    def leaving(names: Collection[str], members: Sequence[str], on_death: Any) -> rounds.Step:
        return original(names, members, "shrink")

    patch.setattr(rounds, "leaving", leaving)


@planted("barrier", 1, "R10", ("lost reply", "break"))
def a_lost_reply_counts_one_that_leaves_twice(patch: Patch) -> None:
    async def mark_left(self: Book, member: str) -> str:
        while True:
            with self._bearing_losses():
                try:
                    await self._client.create(f"{self.dir}/{member}{rounds.LEFT}")
                except NodeExists:
                    pass
                except NoNode:
                    return ""
                try:
                    made = await self._client.create(f"{self.dir}/{rounds.OUT}/n", sequential=True)
                except (NodeExists, NoNode):
                    return ""
                return made.removeprefix(f"{self.dir}/")

    patch.setattr(Book, "mark_left", mark_left)


@planted("barrier", 2, "R4")
def a_party_that_gives_up_goes_on_watching(patch: Patch) -> None:
    """We had it."""
    original = Party.enter

    async def enter(self: Party) -> Any:
        close = self._close
        try:
            self._close = lambda: None  # type: ignore[method-assign]
            return await original(self)
        finally:
            self._close = close  # type: ignore[method-assign]

    patch.setattr(Party, "enter", enter)


@planted("barrier", 3, "R10")
def a_latch_counts_each_call(patch: Patch) -> None:
    original = CountDownLatch.count_down

    async def count_down(self: CountDownLatch, token: str | None = None) -> bool:
        return await original(self)

    patch.setattr(CountDownLatch, "count_down", count_down)


@planted("barrier", 1, "R10")
def whoever_breaks_the_leaving_leaves_the_notice_up(patch: Patch) -> None:
    """Others then take the end of the round for that of one that all have left."""

    async def take_down(self: Book) -> None: ...

    patch.setattr(Book, "_take_down", take_down)
