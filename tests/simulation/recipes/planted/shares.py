"""In read/write locks and semaphores."""

from collections.abc import Sequence

from recipes.contender import Contender
from recipes.line import Standing, holding, in_order, kind_of, permits_of, standing
from recipes.lock.lease import Lease
from recipes.lock.rwlock import Writer
from recipes.lock.semaphore import Claimant
from recipes.naming import line_of
from tests.simulation.recipes.planted.bug import Patch, planted


@planted("rwlock", 1, "R2")
def a_reader_looks_only_at_the_one_before_it(patch: Patch) -> None:
    """Which may be a reader that waits itself."""
    original = Contender._holds

    def holds(self: Contender, order: list[str]) -> bool:
        place = order.index(self._name) if self._name in order else 0
        if kind_of(self._name) == "read" and place and kind_of(order[place - 1]) == "read":
            return True
        return original(self, order)

    patch.setattr(Contender, "_holds", holds)


@planted("rwlock", 1, "L5")
def a_reader_waits_for_writers_behind_it(patch: Patch) -> None:
    """As kazoo's did: U10."""
    original = Contender._holds

    def holds(self: Contender, order: list[str]) -> bool:
        if kind_of(self._name) == "read" and any(kind_of(name) == "write" for name in order):
            return False
        return original(self, order)

    def stands(self: Contender, order: list[str]) -> Standing:
        found = standing(self._name, order)
        writers = [name for name in order if kind_of(name) == "write"]
        return Standing(False, writers[-1]) if found.holds and writers else found

    patch.setattr(Contender, "_holds", holds)
    patch.setattr(Contender, "_standing", stands)


@planted("rwlock", 6, "R2")
def a_downgrade_gives_up_before_it_asks_anew(patch: Patch) -> None:
    async def replace_surely(self: Writer, old: str, new: str) -> None:
        self._sure = True
        await self.client.delete(old)
        path, _ = await self.client.create2(new[:-10], ephemeral=True, sequential=True)
        self._become_reader(path)

    patch.setattr(Writer, "_replace_surely", replace_surely)


@planted("naming", 1, "R3")
def a_line_of_other_names_leaves_readers_out(patch: Patch) -> None:
    """As kazoo's Lock does, which is not its WriteLock: a writer goes in beside them."""
    patch.setattr("recipes.contender.line_of", lambda marker: marker if marker == "__lock__" else line_of(marker))


@planted("naming", 1, "R3")
def a_reader_with_another_name_is_taken_for_one_with_ours(patch: Patch) -> None:
    """What is not ours was taken for a permit."""
    patch.setattr("recipes.line.permits_of", lambda name: permits_of(name) if name.startswith("_r_") else 1)


@planted("naming", 1, "R3")
def order_is_that_of_whole_names(patch: Patch) -> None:
    """With a random id in front: whoever drew a low one goes first."""

    def order(names: Sequence[str], marker: str | tuple[str, ...]) -> list[str]:
        return sorted(in_order(names, marker))

    patch.setattr("recipes.contender.in_order", order)


@planted("semaphore", 4, "R3")
def a_claim_counts_only_those_that_hold(patch: Patch) -> None:
    """And so small claims overtake large ones, which then count on the same permits."""

    def holds(self: Contender, order: list[str]) -> bool:
        if self._name not in order:
            return False
        front = order[: order.index(self._name)]
        held = sum(permits_of(name) for name in front[: holding(front, self.limit)])
        return held + permits_of(self._name) <= self.limit

    patch.setattr(Claimant, "_holds", holds)


@planted("semaphore", 1, "L5")
def nobody_passes_its_turn_on(patch: Patch) -> None:
    async def pass_on(self: Claimant) -> None:
        """The one behind has to see for itself, and sleeps."""

    patch.setattr(Claimant, "_pass_on", pass_on)


@planted("semaphore", 6, "L5")
def a_lower_limit_makes_holders_look_as_if_they_waited(patch: Patch) -> None:
    def stands(self: Contender, order: list[str]) -> Standing:
        return standing(self._name, order, self.limit, self.limit)

    patch.setattr(Claimant, "_standing", stands)


@planted("semaphore", 1, "L5")
def waiters_do_not_hear_of_another_limit(patch: Patch) -> None:
    original = Claimant._wait_behind

    async def wait_behind(self: Claimant, name: str, order: list[str]) -> bool:
        return await (Contender._wait_behind if name else original)(self, name, order)

    patch.setattr(Claimant, "_wait_behind", wait_behind)


@planted("lease", 38, "R3")
def a_permit_is_made_without_a_look_at_the_lock(patch: Patch) -> None:
    """Which may be lost by then, after a pause for example."""

    async def make(self: Lease, lock: Contender) -> bool:
        self.asked = True
        path, stat = await self.client.create2(self._prefix, self._data, ephemeral=True, sequential=True)
        self._take(path, stat)
        return True

    patch.setattr(Lease, "_make", make)


@planted("lease", 1, "R3")
def one_more_permit_fits(patch: Patch) -> None:
    patch.setattr(Lease, "_fits", lambda self, names: len(names) <= self.limit)
