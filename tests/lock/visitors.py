"""Readers and writers that come and go as a scene says."""

import anyio

from recipes.lock import ReadWriteLock
from tests.lock.turns import settled

PATH = "/rw"


class Visitors:
    """Tasks, each with a client of its own, that take a side and stay until they are let go."""

    def __init__(self, store, tasks):
        self.store, self.tasks = store, tasks
        self.inside, self.let_go, self.grants = [], {}, {}

    async def come(self, name, side=None):
        """`name` begins with r or w, as what it wants."""
        self.let_go[name] = anyio.Event()
        self.tasks.start_soon(self._stay, name, side)
        await settled(self.store)

    async def _stay(self, name, side):
        rw = ReadWriteLock(self.store.client(), PATH)
        async with side or (rw.read() if name[0] == "r" else rw.write()) as grant:
            self.inside.append(name)
            self.grants[name] = grant
            await self.let_go[name].wait()
            self.inside.remove(name)

    async def leave(self, *names):
        for name in names:
            self.let_go[name].set()
            await settled(self.store)


async def visit(store, scene):
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            visitors = Visitors(store, tasks)
            await scene(visitors)
            tasks.cancel_scope.cancel()
    await settled(store)
    assert store.names(PATH) == []
    assert store.watches == []
