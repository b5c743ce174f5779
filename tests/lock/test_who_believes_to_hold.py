"""The matrix: every way a grant or a term can end, whoever looks, however the server is: nobody believes to hold once
another may.

The moment that counts is when the store removes the holder's znode, since from then on the next in line may be let in.
Before it does, the block's own code, another task and a thread are asked; and all three go on looking all the time.
Ends of a whole process are in test_processes_that_end.py.
"""

from collections import Counter

import anyio
import pytest

from recipes import Election, LeadershipLost, Lock, LockLost
from recipes.core.client.scope import CLOSED
from recipes.core.client.session import OVER
from recipes.hold import CANCELLED, DELETED, RELEASED
from tests.lock.conftest import spawn
from tests.lock.virtual import TIMEOUT, Thread, VirtualClient, VirtualStore, run

DELAYS = {"quick": 0.001, "slow": 0.3, "silent": 0.01, "cut": 0.01}
STUBBORN = 3.0  # seconds that a block goes on after it was cancelled: longer than a closing client waits
GLANCE = 0.25  # seconds from one look to the next, besides those at the moment that counts


class Acquired:
    """`lock.acquire()` and `grant.release()`, to be told to leave by the tests as a block is."""

    def __init__(self, lock):
        self.lock = lock

    async def __aenter__(self):
        self.grant = await self.lock.acquire()
        return self.grant

    async def __aexit__(self, *failure):
        await self.grant.release()


RECIPES = {
    "lock": lambda client: Lock(client, "/a"),
    "acquire": lambda client: Acquired(Lock(client, "/a")),
    "term": lambda client: Election(client, "/a").lead(),
}


class Scene:
    """One holder, one that waits behind it, and all who look."""

    def __init__(self, clock, recipe, server, stays):
        self.clock, self.server, self.recipe = clock, server, recipe
        self.stays = stays or recipe == "acquire"  # whether the task that enters leaves it to another to leave
        self.store = VirtualStore(clock, DELAYS[server])
        self.store.removing = self.about_to_remove
        self.holder, self.successor = VirtualClient(self.store), VirtualClient(self.store)
        self.block = RECIPES[recipe](self.holder)
        self.thread = Thread()
        self.leave, self.held, self.left, self.followed = (anyio.Event() for _ in range(4))
        self.body_scope = anyio.CancelScope()
        self.hold, self.looks, self.wrong = None, Counter(), []
        self.gone_at = None  # when the store removed the holder's znode
        self.lag = 0.0  # how long after that one may not know, since somebody else removed it

    def look(self, who, *, may=None):
        if self.hold is None:
            return
        may = self.hold.path in self.store.nodes if may is None else may
        ended = self.thread.ask(self.hold.ended.is_set) if who == "thread" else self.hold.ended.is_set()
        self.looks[who, ended] += 1
        if not may and not ended and self.clock() > (self.gone_at or self.clock()) + self.lag + 1e-6:
            self.wrong.append((who, self.clock()))

    def about_to_remove(self, path):
        if self.hold is not None and path == self.hold.path:
            self.gone_at = self.clock()
            for who in ("body", "task", "thread"):
                self.look(who, may=bool(self.lag))

    async def watch(self):
        while True:
            self.look("task")
            self.look("thread")
            await anyio.sleep(GLANCE)

    async def body(self):
        try:
            while not self.leave.is_set():
                self.look("body")
                await anyio.sleep(GLANCE)
        finally:
            self.look("body")
            if not self.leave.is_set():
                with anyio.CancelScope(shield=True):
                    until = self.clock() + STUBBORN
                    while self.clock() < until:
                        self.look("body")
                        await anyio.sleep(GLANCE)

    async def hold_it(self):
        try:
            if self.stays:
                self.hold = await self.block.__aenter__()
                self.held.set()
                await self.body()
            else:
                with self.body_scope:
                    async with self.block as self.hold:
                        self.held.set()
                        await self.body()
        except (LockLost, LeadershipLost):
            pass
        self.look("body")
        self.left.set()

    async def follow(self):
        async with RECIPES[self.recipe](self.successor):
            for who in ("body", "task", "thread"):
                self.look(who)
            self.followed.set()


async def ends_by_release(scene):
    scene.leave.set()
    if scene.recipe == "acquire":
        await scene.block.__aexit__(None, None, None)
    return RELEASED, False


async def ends_by_resigning(scene):
    await (scene.hold.resign() if scene.recipe == "term" else scene.hold.release())
    return "resigned" if scene.recipe == "term" else RELEASED, False


async def ends_by_loss(scene):
    scene.holder.fall_silent()
    return OVER, True


async def ends_by_cancellation(scene):
    if scene.recipe == "acquire":
        with anyio.CancelScope() as scope:
            scope.cancel()
            await scene.block.__aexit__(None, None, None)
        return RELEASED, False
    scene.body_scope.cancel()
    return CANCELLED, False


async def ends_by_closing_the_client(scene):
    await scene.holder.__aexit__(None, None, None)
    return CLOSED, True


async def ends_by_closing_the_client_in_a_hurry(scene):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await scene.holder.__aexit__(None, None, None)
    return CLOSED, True


async def ends_by_an_operator(scene):
    # Nobody can know before the watch's event comes; without an answer, before the session may be over.
    scene.lag = TIMEOUT if scene.server in ("silent", "cut") else scene.store.delay
    scene.store.remove(scene.hold.path)
    return DELETED, True


async def ends_in_another_task(scene):
    await scene.block.__aexit__(None, None, None)
    return RELEASED, False


async def ends_in_another_task_after_its_own_has_ended(scene):
    scene.leave.set()
    await scene.left.wait()
    return await ends_in_another_task(scene)


def entered_of(block):
    """Who is inside, as a Lock keeps it; a block of another kind is of one task."""
    return block._inside._entries if hasattr(block, "_inside") else []


async def ends_after_another_loop_tried(scene):
    async def try_it():
        attempts = [
            lambda: scene.block.__aexit__(None, None, None),
            lambda: scene.holder.__aexit__(None, None, None),
            lambda: scene.holder.children("/"),
            lambda: scene.hold.ended.wait(),
        ]
        refused = 0
        for attempt in attempts:
            try:
                await attempt()
            except RuntimeError as error:
                refused += "belongs to another thread" in str(error)
        return refused

    inside = list(entered_of(scene.block))
    assert scene.thread.ask(lambda: anyio.run(try_it)) == 4
    assert entered_of(scene.block) == inside
    assert not scene.hold.ended.is_set()
    return await ends_by_release(scene)


WAYS = [
    ends_by_release,
    ends_by_resigning,
    ends_by_loss,
    ends_by_cancellation,
    ends_by_closing_the_client,
    ends_by_closing_the_client_in_a_hurry,
    ends_by_an_operator,
    ends_in_another_task,
    ends_in_another_task_after_its_own_has_ended,
    ends_after_another_loop_tried,
]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("server", DELAYS)
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nobody_believes_to_hold_once_another_may(way, recipe, server, backend):
    scenes = []

    async def main(clock):
        scene = Scene(clock, recipe, server, way.__name__.startswith("ends_in_another_task"))
        scenes.append(scene)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(scene.store.carry)
                async with scene.successor:
                    await scene.holder.__aenter__()
                    spawned = spawn(scene.hold_it)
                    await scene.held.wait()
                    tasks.start_soon(scene.follow)
                    tasks.start_soon(scene.watch)
                    await anyio.sleep(3)
                    assert len(scene.store.names("/a")) == 2
                    if server in ("silent", "cut"):
                        getattr(scene.holder, {"silent": "fall_silent", "cut": "cut"}[server])()
                    try:
                        expected = await way(scene)
                    except (LockLost, LeadershipLost):
                        expected = None  # it took longer than the session had
                    await scene.followed.wait()
                    await anyio.sleep(TIMEOUT)
                    scene.leave.set()
                    await scene.left.wait()
                    assert spawned is not None
                    if server in ("quick", "slow"):
                        assert (scene.hold.why, scene.hold.lost) == expected
                    await scene.holder.__aexit__(None, None, None)
                tasks.cancel_scope.cancel()

    try:
        run(backend, main)
    finally:
        scenes[0].thread.close()
    (scene,) = scenes
    assert scene.wrong == []
    assert scene.gone_at is not None
    assert scene.hold.ended.is_set()
    assert min(scene.looks[who, ended] for who in ("body", "task", "thread") for ended in (False, True)) > 0
    assert scene.store.names("/a") == []
    assert scene.store.watches == []
