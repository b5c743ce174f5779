"""One party's way through one round of a double barrier."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from recipes.barrier import rounds
from recipes.barrier.book import Book, RoundSettings
from recipes.barrier.inside import Round
from recipes.barrier.place import Board, Departure, Place
from recipes.barrier.rounds import Outcome
from recipes.core.client.waiter import Waiter
from recipes.core.errors import BarrierFull, BrokenBarrier, ConnectionLoss, NoNode, RecipesError
from recipes.line import in_order

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.view import ChildrenView
    from recipes.core.client.watch import CreationWatch, DeletionWatch

_SOON = 0.05  # seconds that a party waits for the others before it looks at them and watches one
_DELETED = Outcome(why="the round's znode was deleted by somebody else")
_CONFIRM_SECONDS = 0.08  # how long the caller waits for clean-up; then the client's own task goes on with it


class Party:
    """One party in one round, from its first step in to its last step out. Used once.

    last: what the round before it has left for this one; None if the number of the round is unknown.
    """

    def __init__(self, client: "Client", settings: RoundSettings, last: Departure | None) -> None:
        self._client: Client = client.bound
        self._settings = settings
        self._last = last
        number, before = (0, ()) if last is None else (last.number + 1, last.members)
        self._book = Book(self._client, settings, number, before)
        self._board: Board | None = None if last is None else last.take_board(self._client)
        self._goes_on = self._board is not None  # whether it comes from the round before
        self._end: CreationWatch | None = None  # of the znode that ends the leaving
        self._place: Place | None = None
        self._node = ""  # path of our ephemeral znode while we are inside
        self._me = ""  # the member that we are, or whose place we took
        self._members: tuple[str, ...] = ()
        self._round: Round | None = None
        self._watched = ""
        self._watch: DeletionWatch | None = None
        self._has_changed = False  # whether anything that we watch has changed since we last looked
        self._waiter: Waiter | None = None
        self._leaving = False
        self._guards = False  # whether it has to look after the others
        self._began_to_look = False
        self._looking = False  # whether it looks after them just now
        self._is_deleted = False  # whether somebody has deleted the round that we are inside

    @property
    def number(self) -> int:
        """The number of the round it is in."""
        return self._book.number

    async def enter(self) -> Round:
        """Wait for the others. Raises the errors of DoubleBarrier."""
        try:
            if not self._book.number:
                await self._find_round()
            while self._round is None:
                await self._try_round()
        except BaseException as error:
            why = _reason(error)
            try:
                await self._finish(lambda: self._withdraw(why))
            finally:
                self._close()
            raise
        return self._round

    async def leave(self, error: BaseException | None) -> Departure | None:
        """Leave, and wait for the others to leave unless the block ended by `error`. For the next round if all left."""
        try:
            ended = await self._leave(error)
            if ended is None:
                return None
            left = self._depart_soon()
        finally:
            self._close()
        if ended.broken:
            raise self._broken(ended)
        return left

    async def _leave(self, error: BaseException | None) -> Outcome | None:
        self._leaving = True
        if error is not None:
            why = _reason(error)
            await self._finish(lambda: self._fail(why))
            return None
        try:
            ended = await self._wait_end()
        except BaseException:
            await self._finish(self._depart)
            raise
        return ended

    def _depart_soon(self) -> Departure:
        """Submit the deletion of our znode, without waiting, and hand over the board."""
        board, self._board = self._board, None
        if board is not None:
            board.heard = None
        return Departure(self._client, self.number, self._node, self._members, board)

    # Coming in

    async def _find_round(self) -> None:
        """Go to the newest round, or take a free place in the round before it. Raises BarrierFull."""
        await self._book.find_round()
        newest = self.number
        if newest > 1:
            self._book.go_to(newest - 1)
            await self._enter_otherwise()

    async def _try_round(self) -> None:
        """Join our round and wait until the entering has ended; sets `_round` if we are in."""
        self._unwatch()
        self._open_board()
        last, self._last = self._last, None
        goes_on, self._goes_on = self._goes_on, False
        place = self._place = Place(self._client, self._settings, self._book.dir, last, goes_on)
        place.sent = lambda: self._watch_end(self._settings.parties)
        try:
            order = await place.join(make_parent=False)
        except NoNode:  # the round is over and its znodes are deleted
            self._place = None
            await self._find_round()
            return
        gate, came_before = await self._wait_gate(place, order, goes_on)
        me = _last_part(place.path)
        if me in gate.members:
            self._be_inside(me, place.path, gate)
            return
        if gate.broken and came_before:
            raise self._broken(gate)
        self._place = None
        Departure(self._client, self.number, place.path)
        await self._enter_otherwise()

    async def _wait_gate(self, place: Place, order: list[str], goes_on: bool) -> tuple[Outcome, bool]:
        """How the entering ended, and whether we had come before that.

        order: the parties as last read, if any. goes_on: see Place.
        """
        settings, me = self._settings, _last_part(place.path)
        seen: set[str] = set()
        newcomers: ChildrenView | None = None
        names: list[str] | None = place.names if order else None
        soon = True  # most rounds begin soon, so it would be a waste to look at the others and to watch one at once
        try:
            while True:
                self._has_changed = False
                gate, zxid = await self._gate()
                if gate is not None:
                    return gate, not gate.broken or await self._came_before(place, zxid)
                if names is None:
                    if soon and not order:
                        soon = await self._changes_soon()
                        continue
                    names = (newcomers.value or []) if newcomers and newcomers.current else await self._names()
                    order = in_order(names, rounds.MARKER)
                    if not names:  # a round that exists has a znode in it
                        return (await self._gate())[0] or _DELETED, True
                step = rounds.entering(names, me, seen, settings.parties, settings.on_death, order)
                names = None
                seen.update(order)
                if isinstance(step, rounds.Decide):
                    if await self._book.decide(step.outcome):
                        return step.outcome, True
                elif isinstance(step, rounds.Forget):
                    await self._book.forget(step.gone)
                elif me not in order:
                    await self._client.sync(self._book.dir)  # it raises when the session is over
                    if (await self._gate())[0] is None:
                        raise self._broken(Outcome(who=settings.name, why="its znode was deleted by somebody else"))
                else:
                    if soon and (goes_on or order[0] != me):
                        if soon := await self._changes_soon():
                            continue
                    # The first party watches newcomers, others the one before. With "wait" each watches its own place.
                    if settings.on_death == "wait":
                        self._look_at(me)
                    elif order[0] != me:
                        self._look_at(order[order.index(me) - 1])
                    elif newcomers is None:
                        newcomers = self._client.children_view(self._book.dir, self._signal)
                    await self._changes()
        finally:
            if newcomers is not None:
                newcomers.close()

    async def _changes_soon(self) -> bool:
        """Wait for a change, and return whether one came within _SOON."""
        if not self._has_changed:
            self._waiter = Waiter()
            await self._waiter.wait_at_most(_SOON)
        return self._has_changed

    async def _changes(self) -> None:
        """Wait for a change."""
        if not self._has_changed:
            self._waiter = Waiter()
            await self._waiter.wait()

    async def _gate(self) -> tuple[Outcome | None, int]:
        """How the entering ended, and the zxid of that; None while nothing is decided. Raises what ended the board."""
        read = None if self._board is None else await self._board.read()
        if read is None:
            return Outcome(why="the barrier's znode was deleted by somebody else"), 0
        notice, zxid = read
        if notice.shown == self.number:
            return notice.gate, zxid
        if notice.newest <= self.number:  # it rises with the gate
            return None, 0
        try:
            data, stat = await self._client.get(self._book.dir)
        except NoNode:
            return _DELETED, 0
        return rounds.decode(data), stat.mzxid

    async def _came_before(self, place: Place, zxid: int) -> bool:
        """Whether our place was created before the change with this zxid; if it is gone, too."""
        stat = await self._client.exists(place.path)
        return stat is None or not zxid or stat.czxid < zxid

    async def _enter_otherwise(self) -> None:
        """The entering of this round has ended without us: take a dead member's place, or go to the next round.

        Raises BarrierFull when there is no place, and nobody has begun to leave.
        """
        while True:
            out = await self._client.exists(f"{self._book.dir}/{rounds.OUT}")
            if out is None or (out.num_children and self._settings.on_death != "wait"):  # over, or leaving
                break
            try:
                data, _ = await self._client.get(self._book.dir)
            except NoNode:
                break
            gate = rounds.decode(data)
            if gate is None:  # this server lags behind
                await self._client.sync(self._book.dir)
                continue
            if out.num_children >= len(gate.members):
                break
            where = rounds.admitted(await self._names(), gate, self._settings.on_death)
            if isinstance(where, rounds.Full):
                raise BarrierFull(self._settings.path, f"{len(gate.members)} parties are inside")
            if not isinstance(where, rounds.TakePlace):
                break
            if place := await self._book.take_place(where.of):
                self._be_inside(where.of, place, gate)
                return
        self._book.go_to(self.number + 1)

    def _be_inside(self, me: str, node: str, gate: Outcome) -> None:
        self._me, self._node, self._members = me, node, gate.members
        self._unwatch()
        self._open_board()
        self._round = Round(self.number, tuple(map(rounds.said, gate.members)))
        # With "wait", newcomers look for places of dead members, so members need not watch one another.
        self._guards = self._settings.on_death != "wait" and len(gate.members) > 1
        self._watch_end(len(gate.members))
        if self._is_over():
            self._round.broken.set()
        else:
            self._client.home.run_next(self._begin_inside)

    def _open_board(self) -> None:
        if self._board is None:
            self._board = Board(self._client, self._settings.path)
        self._board.heard = self._signal

    def _watch_end(self, members: int) -> None:
        """Watch for the znode that ends a round of so many members; keep the watch if it is set already."""
        path = f"{self._book.dir}/{rounds.last_out(members)}"
        if self._end is not None and self._end.path != path:
            self._end.cancel()
            self._end = None
        if self._end is None:
            self._end = self._client.watch_creation(path, self._signal)

    def _begin_inside(self) -> None:
        """The block waits for something, or is over already: then nobody need be watched."""
        if not (self._leaving or self._is_over()):
            self._begin_to_look()

    def _begin_to_look(self) -> None:
        if not self._began_to_look and (self._guards or self._leaving):
            self._began_to_look = True
            self._look_at(self._neighbour((*self._members, _last_part(self._node))))

    async def _wait_end(self) -> Outcome:
        """Record that we leave, and wait for the outcome of the leaving; watch the others meanwhile."""
        marked = await self._book.mark_left(self._me)
        if marked == rounds.last_out(len(self._members)):
            return Outcome()
        self._is_deleted = not marked and not await self._names()
        soon = True
        while True:
            self._has_changed = False
            ended = await self._ended()
            if ended is not None:
                return ended
            if soon:
                soon = await self._changes_soon()
                continue
            self._begin_to_look()
            if not await self._look_after():
                await self._changes()

    async def _ended(self) -> Outcome | None:
        """The outcome of the leaving; None while there is none. Raises the error that ended the session."""
        board, end = self._board, self._end
        if board is not None and board.error is not None:
            raise board.error
        if end is None or not end.is_made:
            return _DELETED if self._is_deleted or (board is not None and board.is_gone) else None
        if end.in_order and board is not None and board.shows(self.number):
            return Outcome()  # whoever breaks the leaving takes the notice down before
        try:
            data, _ = await self._client.get(end.path)
        except NoNode:
            return _DELETED
        return rounds.decode_end(data)

    async def _names(self) -> list[str]:
        try:
            return await self._client.children(self._book.dir)
        except NoNode:
            return []

    # Looking after the others

    async def _look_after(self) -> bool:
        """If the znode we watched is gone, record dead members and watch the next one. Returns whether any was dead."""
        if self._watch is not None or not self._began_to_look:
            return False
        names = await self._names()
        if not names:  # a round that exists has a znode in it
            self._is_deleted = True
            self._signal()
            return True
        step = rounds.leaving(names, self._members, self._settings.on_death)
        if isinstance(step, rounds.Decide):
            await self._book.break_leaving(self._members, step.outcome)
        elif isinstance(step, rounds.Forget):
            for member in step.gone:
                await self._book.mark_left(member)
        self._look_at(self._neighbour(names))
        return not isinstance(step, rounds.Wait)

    async def _look_after_once(self) -> None:
        """`_look_after` while the block runs: a job of the client's own task, begun when the watched znode is gone."""
        with suppress(RecipesError):
            while not (self._leaving or self._is_over() or self._watch is not None) and await self._look_after():
                pass
        self._looking = False

    def _neighbour(self, names: Sequence[str]) -> str | None:
        """The znode to watch: who need not look after others watches itself, to hear if the round is deleted."""
        if self._guards:
            return rounds.neighbour(names, self._me, self._members)
        mine = _last_part(self._node)
        return mine if mine in names else None

    def _look_at(self, node: str | None) -> None:
        """Watch the deletion of the znode `node`; keep the watch if it is set already."""
        if node == self._watched:
            return
        self._unwatch()
        if node is not None:
            with suppress(RecipesError):  # the session is over, and the view of the round shows it
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
        """Something that we watch has changed. Called by the client; must not wait."""
        self._has_changed = True
        if self._waiter is not None:
            self._waiter.set()
        if self._round is None or self._leaving:
            return
        if self._is_over():
            self._round.broken.set()
        elif self._began_to_look and self._watch is None and not self._looking:
            self._looking = True
            self._client.look_after(self._look_after_once)

    def _is_over(self) -> bool:
        """While we are inside: whether the round can no longer end well."""
        board, end = self._board, self._end
        if board is None or board.error is not None or board.is_gone or self._is_deleted:
            return True
        return end is None or end.is_made

    # Going away

    async def _withdraw(self, why: str) -> None:
        """Leave before all are in, or before we know that they are."""
        place, on_death = self._place, self._settings.on_death
        await self._book.leave_place()
        if place is None:
            return
        me, node = _last_part(place.path), place.path
        if me and on_death != "wait":
            died = Outcome(who=rounds.said(me), why=why)
            if on_death == "shrink":
                before = await self._book.withdraw(node)
            else:
                before = await self._book.decide(died, leaving=node)
            if not before:
                # The outcome was written meanwhile: if we are a member, we die inside.
                data, _ = await self._client.get(self._book.dir)
                gate = rounds.decode(data)
                if gate is not None and me in gate.members:
                    self._me, self._members, self._node = me, gate.members, node
                    await self._die_inside(died)
        place.drop()

    async def _fail(self, why: str) -> None:
        """Our block raised: to the others, we died inside."""
        await self._die_inside(Outcome(who=self._settings.name, why=why))
        await self._drop()

    async def _die_inside(self, died: Outcome) -> None:
        if self._settings.on_death == "shrink":
            await self._book.mark_left(self._me)
        elif self._settings.on_death == "break":
            await self._book.break_leaving(self._members, died)

    async def _depart(self) -> None:
        """Leave without waiting for the others. The mark comes first: without it we would count as dead."""
        await self._book.mark_left(self._me)
        await self._drop()

    async def _drop(self) -> None:
        with suppress(NoNode):
            await self._client.delete(self._node)

    async def _finish(self, clean_up: Callable[[], Awaitable[None]]) -> None:
        """Run `clean_up` in the client's own task, and wait for it up to _CONFIRM_SECONDS, even if cancelled."""
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
                pass  # the session is over, and our znode with it; or the server refuses
            finally:
                done.set()

        if not self._client.session.lost:
            self._client.look_after(work)
            with anyio.move_on_after(_CONFIRM_SECONDS, shield=True):
                await done.wait()

    def _close(self) -> None:
        self._unwatch()
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._board is not None:
            self._board.close()
            self._board = None

    def _broken(self, outcome: Outcome) -> BrokenBarrier:
        said = f"round {self.number}: {outcome.who + ': ' if outcome.who else ''}{outcome.why}"
        return BrokenBarrier(self._settings.path, said, round=self.number, who=outcome.who)


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]


def _reason(error: BaseException) -> str:
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return "it was cancelled, or ran out of time"
    return str(error) if isinstance(error, RecipesError) else f"its block ended by {type(error).__name__}"
