"""One party's way through one round of a double barrier."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from recipes.barrier import rounds
from recipes.barrier.book import Book, RoundSettings
from recipes.barrier.rounds import Outcome
from recipes.contender import Contender
from recipes.core.errors import BarrierFull, BrokenBarrier, ConnectionLoss, HoldLost, NodeExists, NoNode, RecipesError
from recipes.line import in_order

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.view import ChildrenView, NodeView
    from recipes.core.client.watch import DeletionWatch

_CONFIRM_SECONDS = 0.08  # how long going away may hold its caller up; the client's own task goes on with it


class Round:
    """A round that this party is in, bound by `async with ... as round`.

    number: of this round, from 1 on; a later round of the same path has a higher one. members: the names of all parties
    in it, in the order of their coming. broken: an event, set when a party died inside, so that the leaving will raise
    BrokenBarrier, or when this party's own session is over; the block is not cancelled.
    """

    __slots__ = ("broken", "members", "number")

    def __init__(self, number: int, members: tuple[str, ...]) -> None:
        self.number: int = number
        self.members: tuple[str, ...] = members
        self.broken: anyio.Event = anyio.Event()

    def __repr__(self) -> str:
        return f"<Round {self.number} of {len(self.members)}{', broken' if self.broken.is_set() else ''}>"


class Party:
    """From the first step into a round to the last one out of it. Used once.

    number: the round it expects to find, 0 when it does not know. It may go to a later one.
    """

    def __init__(self, client: "Client", settings: RoundSettings, number: int) -> None:
        self._client: Client = client.bound
        self._settings = settings
        self._book = Book(self._client, settings, number)
        self._view: NodeView | None = None  # of the round's znode
        self._place: Contender | None = None
        self._node = ""  # path of our ephemeral znode while we are inside
        self._me = ""  # the member whose place is ours
        self._members: tuple[str, ...] = ()
        self._round: Round | None = None
        self._watched = ""
        self._watch: DeletionWatch | None = None
        self._changed = anyio.Event()
        self._leaving = self._looking = False

    @property
    def number(self) -> int:
        """Of the round it is in."""
        return self._book.number

    async def enter(self) -> Round:
        """Wait for the others. Raises what DoubleBarrier says."""
        try:
            if not self._book.number:
                await self._book.find_round()
            while self._round is None:
                await self._try_round()
        except BaseException as error:
            why = _reason(error)
            await self._finish(lambda: self._withdraw(why))
            raise
        return self._round

    async def leave(self, error: BaseException | None) -> None:
        """Leave, and wait for the others to leave unless the block ended by `error`."""
        self._leaving = True
        ended: Outcome | None = None
        try:
            if error is None:
                ended = await self._wait_end()
        finally:
            if error is not None:
                why = _reason(error)
                await self._finish(lambda: self._fail(why))
            elif ended is None:
                await self._finish(self._depart)
            elif ended.broken:
                await self._finish(self._drop)
            self._close()
        if ended is not None and ended.broken:
            raise self._broken(ended)

    # Coming in

    async def _try_round(self) -> None:
        """Stand in line in our round until the entering has ended; sets `_round` when we are in."""
        self._close()
        view = self._view = self._client.node_view(self._book.dir, self._signal)
        settings = self._settings
        place = self._place = Contender(
            self._client, self._book.dir, rounds.MARKER, HoldLost, acl=settings.acl, label=f"@{settings.name}"
        )
        try:
            await place.join(make_parent=False)
        except NoNode:  # the round was over, and cleared away
            self._place = None
            await self._book.find_round()
            return
        gate, came_before = await self._wait_gate(view, place)
        me = place.path.rpartition("/")[2]
        if me in gate.members:
            self._be_inside(me, place.path, gate)
        elif gate.broken and came_before:
            raise self._broken(gate)
        else:
            await self._enter_otherwise(place, gate)

    async def _wait_gate(self, view: "NodeView", place: Contender) -> tuple[Outcome, bool]:
        """How the entering ended, and whether we had come before that."""
        settings, me, names = self._settings, place.path.rpartition("/")[2], place.names
        seen: set[str] = set()
        newcomers: ChildrenView | None = None
        try:
            while True:
                gate = await self._outcome(view)
                if gate is not None:
                    return gate, view.value is None or view.value.stat.mzxid > place.fence
                step = rounds.entering(names, me, seen, settings.parties, settings.on_death)
                order = in_order(names, rounds.MARKER)
                seen.update(order)
                if isinstance(step, rounds.Decide):
                    if await self._book.decide(step.outcome, 0):
                        return step.outcome, True
                elif isinstance(step, rounds.Forget):
                    await self._book.forget(step.gone)
                elif me not in order:
                    raise self._broken(Outcome(who=settings.name, why="its znode was deleted by somebody else"))
                else:
                    # The first one looks after the newcomers, each other one after the one before it.
                    if order[0] != me:
                        self._look_at(order[order.index(me) - 1])
                    elif newcomers is None:
                        newcomers = self._client.children_view(self._book.dir, self._signal)
                    await self._changed.wait()
                self._changed = anyio.Event()
                if newcomers is not None and newcomers.current:
                    names = newcomers.value or []
                elif view.current and (view.value is None or not view.value.data):
                    names = await self._client.children(self._book.dir)
        finally:
            if newcomers is not None:
                newcomers.close()

    async def _enter_otherwise(self, place: Contender, gate: Outcome) -> None:
        """The entering ended without us: take the place of a dead member, or go to the next round, or give up."""
        while True:
            try:
                names = await self._client.children(self._book.dir)
            except NoNode:
                names = []
            where = rounds.admitted(names, gate, self._settings.on_death)
            if not isinstance(where, rounds.TakePlace):
                break
            taken = f"{self._book.dir}/{where.of}{rounds.PLACE}"
            if await self._book.replace(place.path, taken, ephemeral=True):
                self._be_inside(where.of, taken, gate)
                return
        place.drop()
        self._place = None
        if isinstance(where, rounds.Full):
            raise BarrierFull(self._settings.path, f"{len(gate.members)} parties are inside")
        await self._book.find_round()

    def _be_inside(self, me: str, node: str, gate: Outcome) -> None:
        self._me, self._node, self._members = me, node, gate.members
        self._round = Round(self.number, tuple(map(rounds.said, gate.members)))
        self._look_at(rounds.neighbour(gate.members, me, gate.members))

    async def _wait_end(self) -> Outcome:
        """Say that we leave, and wait for how the leaving ends; look after those that are inside."""
        listing = await self._book.mark_left(self._me)
        while True:
            outcome = await self._outcome(self._view)
            if outcome is not None and outcome.ended:
                return outcome
            self._changed = anyio.Event()
            try:
                names = listing if listing is not None else await self._client.children(self._book.dir)
            except NoNode:
                continue  # the view will say so, too
            listing = None
            if not await self._look_after(names):
                self._look_at(rounds.neighbour(names, self._me, self._members))
                await self._changed.wait()

    async def _outcome(self, view: "NodeView | None") -> Outcome | None:
        """What the round's znode says; None while nothing is decided. Raises what ended the view."""
        if view is not None:
            await view.wait_current()
        if view is None or view.value is None:
            return Outcome((), True, why="the round was cleared away before this party learned how it ended")
        return rounds.decode(view.value.data)

    # Looking after the others

    async def _look_after(self, names: Sequence[str]) -> bool:
        """Write down what is to be said of the others; whether there was anything."""
        step = rounds.leaving(names, self._members, self._settings.on_death)
        if isinstance(step, rounds.Decide):
            if step.outcome.broken:
                await self._book.decide(step.outcome, 1)
            else:
                await self._book.end(step.outcome, names)
            return True
        if isinstance(step, rounds.Forget):
            await self._book.forget(step.gone)
            return True
        return False

    async def _look_after_once(self) -> None:
        """While the block runs: a job of the client's own task, begun when the neighbour's znode went."""
        with suppress(RecipesError):
            while self._round is not None and not (self._leaving or self._round.broken.is_set()):
                names = await self._client.children(self._book.dir)
                if not self._leaving and not await self._look_after(names):
                    self._look_at(rounds.neighbour(names, self._me, self._members))
                    break
        self._looking = False

    def _look_at(self, node: str | None) -> None:
        """Hear when the znode `node` goes; keep the watch when it is set already."""
        if node == self._watched:
            return
        self._unwatch()
        if node is not None:
            with suppress(RecipesError):  # the session is over, which the view of the round says too
                self._watch = self._client.watch_deletion(f"{self._book.dir}/{node}", self._neighbour_gone)
                self._watched = node

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch, self._watched = None, ""

    def _neighbour_gone(self) -> None:
        self._watch, self._watched = None, ""
        self._signal()

    def _signal(self) -> None:
        """What is watched has changed. Called by the client; must not wait."""
        self._changed.set()
        view = self._view
        if self._round is None or self._leaving or view is None or not view.current:
            return
        outcome = rounds.decode(view.value.data) if view.value is not None else None
        if view.error is not None or outcome is None or outcome.ended:
            self._round.broken.set()
        elif self._watch is None and not self._looking:
            self._looking = True
            self._client.look_after(self._look_after_once)

    # Going away

    async def _withdraw(self, why: str) -> None:
        """Go away before all were in, or before we know that they are."""
        place, on_death = self._place, self._settings.on_death
        if place is None:
            return
        me = place.path.rpartition("/")[2]
        if me and on_death == "shrink":
            await self._book.replace(place.path, f"{self._book.dir}/{me}{rounds.GONE}")
        elif me and on_death == "break":
            died = Outcome(who=rounds.said(me), why=why)
            if not await self._book.decide(died, 0, leaving=place.path):
                # It was decided while we went away: if we are a member, we die inside.
                data, _ = await self._client.get(self._book.dir)
                gate = rounds.decode(data)
                if gate is not None and me in gate.members:
                    await self._book.decide(died._replace(members=gate.members, ended=True), 1)
        place.drop()

    async def _fail(self, why: str) -> None:
        """Our block failed: for the others we died inside."""
        if self._settings.on_death == "shrink":
            await self._depart()
            return
        if self._settings.on_death == "break":
            await self._book.decide(Outcome(self._members, True, self._settings.name, why), 1)
        await self._drop()

    async def _depart(self) -> None:
        """Leave without a wait for the others. The mark comes first: without it we would have died inside."""
        with suppress(NodeExists, NoNode):
            await self._client.create(f"{self._book.dir}/{self._me}{rounds.LEFT}")
        await self._drop()

    async def _drop(self) -> None:
        with suppress(NoNode):
            await self._client.delete(self._node)

    async def _finish(self, clean_up: Callable[[], Awaitable[None]]) -> None:
        """Carry `clean_up` out whatever happens: in the client's own task, awaited here for a moment only."""
        self._unwatch()
        self._book.losses = 0
        done = anyio.Event()

        async def work() -> None:
            try:
                while True:
                    try:
                        return await clean_up()
                    except ConnectionLoss:
                        self._book.losses = 1
            except RecipesError:
                pass  # the session is over, and our znode goes with it; or it is refused, which nobody can mend
            finally:
                done.set()

        if not self._client.session.lost:
            self._client.look_after(work)
            with anyio.move_on_after(_CONFIRM_SECONDS, shield=True):
                await done.wait()

    def _close(self) -> None:
        self._unwatch()
        if self._view is not None:
            self._view.close()
            self._view = None

    def _broken(self, outcome: Outcome) -> BrokenBarrier:
        said = f"round {self.number}: {outcome.who + ': ' if outcome.who else ''}{outcome.why}"
        return BrokenBarrier(self._settings.path, said, round=self.number, who=outcome.who)


def _reason(error: BaseException) -> str:
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return "it was cancelled, or ran out of time"
    return str(error) if isinstance(error, RecipesError) else f"its block ended by {type(error).__name__}"
