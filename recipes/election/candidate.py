"""A candidate's place in line: it gives way to heavier candidates and hand-overs, and can hand over its own term."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio

from recipes.contender import Contender
from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.errors import (
    BadArguments,
    BadVersion,
    ConnectionLoss,
    LeadershipLost,
    NoAuth,
    NoNode,
    RecipesError,
    ThrottledOp,
)
from recipes.election.weights import MARKER, appoint, ask, gives_way, in_between, is_asked, outweighed, weight_of
from recipes.line import id_of
from recipes.naming import is_native

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL, Stat

RESIGNED = "resigned"
OUTWEIGHED = "it stood down for a candidate that weighs more"


class Candidate(Contender):
    """One candidate, from joining the line to the end of its term.

    weight: 0 or more; part of its znode's name unless it is 0. min_hold: seconds after which a term ends if a heavier
    candidate waits; None: it never ends for that. marker, once: see Contender. Other libraries' namings have no
    weights.
    """

    def __init__(
        self,
        client: "Client",
        parent: str,
        marker: str,
        data: bytes,
        acl: "Sequence[ACL] | None",
        weight: int = 0,
        min_hold: float | None = None,
        *,
        once: bool = True,
    ) -> None:
        super().__init__(client, parent, marker, LeadershipLost, data, acl, once=once)
        if weight:
            self._prefix += f"{weight}-"
        self._weight = weight
        self._min_hold = min_hold
        self._version = 0  # version of our znode after our last write
        self._writing = False
        self._marks = 0  # how many marks of other candidates we have noticed
        self._unread = False  # whether a mark has not been read yet
        self._began: float | None = None  # when the term began
        self._considering = False
        self._nap = anyio.CancelScope()  # around the wait for the place in front

    async def obtain(self, wait: bool) -> bool:
        """Join the line and return whether we lead; with `wait`, return once we do or our znode is gone."""
        got = await super().obtain(wait)
        if got:
            self._began = self.client.clock()
            if self._unread:
                self._consider()
        return got

    # While it waits.

    async def join(self, *, make_parent: bool = True) -> list[str]:
        """Make our znode and return the line as it was right after that."""
        order = await super().join(make_parent=make_parent)
        # If the reply was lost, it may be our turn already, with heavier candidates behind us.
        return await self._line() if self._is_outweighed(order) else order

    async def _wait_turn(self, order: list[str]) -> None:
        if self._name in order and weight_of(order[0]) < self._weight:
            await self._leave_mark(order[0], ask)
        await super()._wait_turn(order)

    async def _wait_behind(self, name: str, order: list[str]) -> bool:
        with anyio.CancelScope() as self._nap:
            return self._unread or await super()._wait_behind(name, order)
        return True

    async def _line(self) -> list[str]:
        order = await super()._line()
        while self._unread or self._is_outweighed(order):
            self._unread = False
            try:
                stored, _ = await self.client.get(self.path)
            except NoNode:
                return await super()._line()
            if is_asked(stored):
                # Heavier candidates ask whom they see first. In a line older than the mark, that may not be us yet.
                order = await super()._line()
            if not gives_way(self._name, order, stored):
                break
            order = await self._requeue()
        return order

    def _is_outweighed(self, order: list[str]) -> bool:
        return order[:1] == [self._name] and outweighed(self._name, order)

    async def _requeue(self) -> list[str]:
        """Move to the end of the line, with a new znode, and return the line as it was right after that."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        backoff = Backoff(self.client.random)
        while self.asked:
            try:
                await self.client.delete(self.path)
            except NoNode:
                pass
            except (ConnectionLoss, ThrottledOp):
                await backoff.pause()
                continue
            self.asked = False
        self.path = ""
        order = await self.join()
        self.watch_own()
        return order

    def _take(self, path: str, stat: "Stat") -> None:
        super()._take(path, stat)
        self._version = 0

    def _seen(self, stat: "Stat") -> None:
        # A mark makes the data longer, with a version that we did not write.
        if stat.data_length != len(self._data) and stat.version > self._version + self._writing:
            self._marks += 1
            self._unread = True
            self._nap.cancel()
            if self._began is not None:
                self._consider()

    async def _leave_mark(self, name: str, mark: Callable[[bytes], bytes]) -> bool:
        """Change the data of another candidate by `mark`. Returns False if it is gone, or may not be asked.

        Raises NoAuth for any other mark than `ask`.
        """
        path = paths.join(self._parent, name)
        backoff = Backoff(self.client.random)
        while True:
            try:
                stored, stat = await self.client.get(path)
                if mark(stored) != stored:
                    await self.client.set(path, mark(stored), stat.version)
            except BadVersion:
                continue  # its owner changed the data, or somebody else left a mark
            except (ConnectionLoss, ThrottledOp):
                await backoff.pause()
                continue
            except NoNode:
                return False
            except NoAuth:
                if mark is ask:
                    return False  # it takes its turn, like a candidate that knows nothing of weights
                raise
            return True

    # While it leads.

    async def announce(self, data: bytes) -> None:
        """Replace our data. Raises LeadershipLost once the term has ended, and the store's errors."""
        self._scope.home.check()
        backoff = Backoff(self.client.random)
        while not self.ended.is_set():
            try:
                await self._write(data)
            except (BadVersion, ConnectionLoss, ThrottledOp):
                await self._look()
                await backoff.pause()
            except NoNode:
                self._gone()
            else:
                return
        raise self.refusal()

    async def _write(self, data: bytes) -> None:
        before, self._data, self._writing = self._data, data, True
        try:
            self._version = (await self.client.set(self.path, data, self._version)).version
        except BaseException:
            self._data = before
            raise
        finally:
            self._writing = False

    async def _look(self) -> None:
        """Read our znode's version, after a mark of somebody else or a write whose outcome is unknown."""
        try:
            stored, stat = await self.client.get(self.path)
        except NoNode:
            self._gone()
            return
        self._version = stat.version
        if is_asked(stored):
            self._marks += 1
            self._consider()

    def _consider(self) -> None:
        """Somebody has left a mark: check, in the client's own task, whether the term must end for it."""
        if not self._considering and self._min_hold is not None:
            self._considering = True
            self.client.look_after(self._stand_down_if_outweighed)

    async def _stand_down_if_outweighed(self) -> None:
        try:
            seen = -1
            while seen != self._marks and not self.ended.is_set():
                seen, self._unread = self._marks, False
                await self._clear_mark()
                if outweighed(self._name, await super()._line()):
                    await self._wait_min_hold()
                    if not self.ended.is_set() and outweighed(self._name, await super()._line()):
                        self.ended.set(OUTWEIGHED, lost=True)
        except RecipesError:
            pass  # the session is over, or we may not read: heavier candidates wait for the term to end
        finally:
            self._considering = False

    async def _clear_mark(self) -> None:
        """Remove the mark before we read the line, so that a candidate that joins after the read leaves another."""
        stored, stat = await self.client.get(self.path)
        self._version = stat.version
        if is_asked(stored):
            await self.announce(self._data)

    async def _wait_min_hold(self) -> None:
        if self._min_hold is not None and self._began is not None:
            with anyio.move_on_after(self._began + self._min_hold - self.client.clock()):
                await self.ended.wait()

    async def hand_over(self, to: str, within: float) -> bool:
        """End the term, and stay in line until the candidate with the id `to` is next, for at most `within` seconds.

        Returns whether it was next. Raises LeadershipLost once the term has ended, BadArguments and NoAuth; after these
        two the term goes on.
        """
        self._scope.home.check()
        if not is_native(self._marker):
            raise BadArguments(self._parent, f"to={to!r}: candidates with another library's names do not give way")
        order = await super()._line()
        named = [name for name in order if id_of(name, MARKER) == to and name != self._name]
        if self.ended.is_set():
            raise self.refusal()
        if not named or not await self._leave_mark(named[0], appoint):
            raise BadArguments(self._parent, f"to={to!r}: expected the id of another candidate that is in line")
        if self.ended.is_set():
            raise self.refusal()
        self.ended.set(f"handed over to {to}")
        if self._watch is not None:
            self._watch.cancel()
        self._deleting = True  # from now on the deletion of our znode is no loss, whoever deletes it
        is_next = False
        try:
            with anyio.move_on_after(within):
                is_next = await self._let_by(named[0])
        finally:
            await self.release(RESIGNED)
        return is_next

    async def _let_by(self, name: str) -> bool:
        """Ask the candidates between us and `name` to move to the end of the line; return whether `name` is next."""
        told: set[str] = set()
        while True:
            order = await super()._line()
            if name not in order or order[0] != self._name:
                return False
            others = in_between(name, order)
            if not others:
                return True
            for each in others:
                if each not in told:
                    told.add(each)
                    await self._leave_mark(each, ask)
            await super()._wait_behind(others[-1], order)
