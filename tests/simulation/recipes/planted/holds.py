"""In locks and elections."""

from typing import Any
from weakref import WeakKeyDictionary

from recipes.contender import Contender
from recipes.core.client.client import Client
from recipes.core.client.scope import SessionScope
from recipes.core.client.session import Session
from recipes.core.errors import ConnectionLoss
from recipes.hold import Tenure
from recipes.lock.unconfirmed import UnconfirmedPlace
from tests.simulation.recipes.planted.bug import Patch, planted


@planted("lock", 1, "R1")
def fence_is_the_sequence_number(patch: Patch) -> None:
    original = Contender._learn

    def learn(self: Contender, create: Any) -> None:
        original(self, create)
        if self.path:
            self.fence = int(self.path[-10:])

    patch.setattr(Contender, "_learn", learn)


@planted("lock", 1, "R5")
def every_waiter_watches_the_first(patch: Patch) -> None:
    async def wait_turn(self: Contender, order: list[str]) -> None:
        while not self._holds(order):
            stat, watch = await self.client.exists_watch(f"{self._parent}/{order[0]}")
            try:
                if stat is not None:
                    await watch.wait()
            finally:
                watch.cancel()
            order = await self._line()

    patch.setattr(Contender, "_wait_turn", wait_turn)


@planted("lock", 1, "L5")
def a_waiter_watches_itself(patch: Patch) -> None:
    """It waits for ever, unless its connection changes: the wrong znode is watched."""

    async def wait_turn(self: Contender, order: list[str]) -> None:
        while not self._holds(order):
            _, watch = await self.client.exists_watch(self.path)
            try:
                await watch.wait()
            finally:
                watch.cancel()
            order = await self._line()

    patch.setattr(Contender, "_wait_turn", wait_turn)


@planted("lock", 2, "R3")
def a_woken_waiter_does_not_look_again(patch: Patch) -> None:
    """The one before us may have given up, and others hold."""

    async def wait_turn(self: Contender, order: list[str]) -> None:
        before = order[order.index(self._name) - 1]
        stat, watch = await self.client.exists_watch(f"{self._parent}/{before}")
        try:
            if stat is not None:
                await watch.wait()
        finally:
            watch.cancel()

    patch.setattr(Contender, "_wait_turn", wait_turn)


@planted("lock", 1, "R3")
def the_line_is_sorted_by_name(patch: Patch) -> None:
    """Which begins with a random id: kazoo and Curator have had it with the names of one another."""
    original = Contender._order
    patch.setattr(Contender, "_order", lambda self, names: sorted(original(self, names)))


@planted("lock", 18, "L3", ("lost reply", "break"))
def a_lost_reply_makes_another_znode(patch: Patch) -> None:
    """And then it waits for its own first one."""

    async def adopt(self: Contender, order: list[str]) -> None:
        """Nothing is recognised."""

    patch.setattr(Contender, "_adopt", adopt)


@planted("lock", 2, "L3")
def leaving_gives_up_on_a_lost_connection(patch: Patch) -> None:
    patch.setattr(Tenure, "_hand_over", lambda self: None)


@planted("lock", 2, "L3")
def a_cancelled_acquire_forgets_what_it_asked_for(patch: Patch) -> None:
    original = Tenure._hand_over

    def hand_over(self: Tenure) -> None:
        if self.path:
            original(self)

    patch.setattr(Tenure, "_hand_over", hand_over)


@planted("lock", 3, "R14")
def the_block_is_not_cancelled_on_loss(patch: Patch) -> None:
    patch.setattr(SessionScope, "cancel", lambda self: None)


@planted("lock", 2, "R3")
def the_hold_ends_behind_its_deletion(patch: Patch) -> None:
    original = Tenure._finish

    async def finish(self: Tenure, error: BaseException | None, why: str) -> Any:
        await self._leave(at_once=False)
        return await original(self, error, why)

    patch.setattr(Tenure, "_finish", finish)


@planted("lock", 1, "R3", ("long pause", "cut off", "deaf", "mute"))
def the_deadline_counts_from_the_reply(patch: Patch) -> None:
    """Instead of from the request: the server had counted from then on."""
    original = Session.receive

    def receive(self: Session, payload: bytes) -> None:
        before = self.expires_at
        original(self, payload)
        if self.expires_at != before and not self.read_only:
            self.expires_at += 10 * self.timeout

    patch.setattr(Session, "receive", receive)


@planted("lock", 59, "R3")
def a_client_that_closes_tells_nobody(patch: Patch) -> None:
    original = Client.__aexit__

    async def close(self: Client, *args: Any) -> None:
        scopes, self.session.scopes = self.session.scopes, {}
        try:
            await original(self, *args)
        finally:
            for scope in scopes.values():
                scope.end("the client was closed")

    patch.setattr(Client, "__aexit__", close)


@planted("lock", 24, "R3")
def its_own_znode_is_not_watched(patch: Patch) -> None:
    patch.setattr(Tenure, "watch_own", lambda self: None)


@planted("lock", 1, "R3", ("lost reply", "break", "kill"))
def a_try_takes_what_it_gets(patch: Patch) -> None:
    original = Contender.obtain

    async def obtain(self: Contender, wait: bool) -> bool:
        return await original(self, wait) or not wait

    patch.setattr(Contender, "obtain", obtain)


@planted("lock", 1, "R3")
def the_next_place_holds_as_the_last_one_did(patch: Patch) -> None:
    """Whoever has joined between the two."""
    original = UnconfirmedPlace._create_and_list

    async def create_and_list(self: UnconfirmedPlace) -> Any:
        follows = self._slot in self.client.session.shared
        order, error = await original(self)
        return [self._name] if follows and error is None else order, error

    patch.setattr(UnconfirmedPlace, "_create_and_list", create_and_list)


@planted("election", 12, "R8")
def a_leader_resigns_before_it_knows(patch: Patch) -> None:
    async def release(self: Tenure, why: str) -> None:
        while self.asked and not self.client.session.lost:
            try:
                await self._delete()
            except ConnectionLoss:
                continue
        self.ended.set(why)
        if self._watch is not None:
            self._watch.cancel()

    patch.setattr(Tenure, "release", release)


@planted("lock", 2, "R14")
def the_parent_is_made_once(patch: Patch) -> None:
    """As kazoo does: each client makes it when it comes for the first time, and not again when servers removed it."""
    original, made = Contender._make_parent, WeakKeyDictionary[Client, set[str]]()

    async def make_parent(self: Contender) -> None:
        if self._parent not in made.setdefault(self.client, set()):
            await original(self)
            made[self.client].add(self._parent)

    patch.setattr(Contender, "_make_parent", make_parent)
