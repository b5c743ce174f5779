"""TreeCache in simulated runs: some steps write, others follow a tree with one watch, or with watches on each znode.

R15, at the end of each following, behind a sync: each znode is shown as it was at some time since that sync, and what
the stream of changes told adds up to the same. At rest that is the state of the store. Nobody leaves a watch behind.
"""

import anyio

from recipes import TreeCache
from recipes.cache.copy import differs
from recipes.core.errors import NodeExists, NoNode, NotEmpty, SessionError
from recipes.core.jute.records import decode_stat
from tests.simulation.recipes.plan import Step

NAMES = ("", "/a", "/a/b", "/a/b/c", "/a/d", "/e", "/e/f")


class EachWatched(TreeCache):
    """As on a server without recursive watches."""

    _recursive = False


class Caches:
    """The Workload of a world; see World."""

    kinds = (*["follow"] * 3, *["each"] * 3, *["create"] * 6, *["set"] * 3, *["delete"] * 3)
    errors = (SessionError, NodeExists, NoNode, NotEmpty)
    expected = (
        "follow: right", "each: right", "was stale", "was current again", "added", "updated", "removed",
        "follow: SessionExpired", "cancelled", "close inside", "died inside",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.inside = []  # the processes that follow

    def path_of(self, key):
        return f"/cache-{key}"

    def open(self, process, client):
        """What steps of one session share."""
        return client

    async def act(self, process, client, step):
        """Carry out a step."""
        path = self.path_of(step.key) + NAMES[step.number % len(NAMES)]
        if step.kind == "create":
            await client.create(path, b"%d" % step.number)
        elif step.kind == "set":
            await client.set(path, b"%d" % step.number)
        elif step.kind == "delete":
            await client.delete(path)
        else:
            self.inside.append(process)
            try:
                await self.follow(process, client, step)
            finally:
                if process in self.inside:
                    self.inside.remove(process)

    async def follow(self, process, client, step):
        path = self.path_of(step.key)
        async with (TreeCache if step.kind == "follow" else EachWatched)(client, path) as cache:
            changes, told, states = cache.changes(initial=True), {}, set()
            for _ in range(8):
                await anyio.sleep(min(step.for_us * 10, 3_000_000) / 8e6)
                self.take(changes, told)
                if cache.state == "current" and "stale" in states:
                    self.world.count("was current again")
                states.add(cache.state)
                if cache.state == "stale":
                    self.world.count("was stale")
            since_zxid, mirror = await self.synced(client, path), cache._mirror
            while cache.error is not None or cache.state != "current" or mirror.copy.has_work or mirror._calls:
                await mirror.news()
            self.check(process, step, cache, since_zxid)
            self.take(changes, told)
            if told.keys() != set(cache) or any(differs(node, cache[each]) for each, node in told.items()):
                self.world.fail("R15", f"the changes of {path} add up to {sorted(told)}, shown is {cache.paths()}")

    async def synced(self, client, path):
        await client.sync(path)
        return client.session.last_zxid

    def take(self, changes, told):
        while (change := changes._next()) is not None:
            self.world.count(change.kind.value)
            if (change.path in told) == (change.kind.value == "added"):
                self.world.fail("R15", f"{change.path} is told as {change.kind.value}")
            if change.kind.value == "removed":
                told.pop(change.path, None)
            else:
                told[change.path] = change.node

    def check(self, process, step, cache, since_zxid):
        reference = self.world.reference
        for name in NAMES:
            path = cache.path + name
            shown = cache.get(path)
            states = reference.changes(path.encode(), since_zxid, 1 << 62)
            were = [(state.data or b"", decode_stat(state.stat, 0)[0]) if state.stat else None for state in states]
            if (shown if shown is None else tuple(shown)) not in were:
                self.world.fail(
                    "R15", f"{step.kind} of {process} shows {path} as {shown}, since 0x{since_zxid:x}: {were}"
                )
        self.world.count(f"{step.kind}: right")

    def probes(self):
        """Steps that must succeed at once when nothing goes wrong."""
        return [
            Step(0, 0, kind, key, 1_000_000 + key + 10 * at, 0, -1, "")
            for key in range(3)
            for at, kind in enumerate(("follow", "each"))
        ]

    def holder(self, process=None):
        """A process that follows now, this one if it does; None when there is none."""
        return next((each for each in self.inside if process in (None, each)), None)

    def life_ended(self, process):
        """It has died, or its program is done."""
        while process in self.inside:
            self.inside.remove(process)
            self.world.count("died inside")

    def event(self, process, kind, path):
        """A watch event has come in."""

    def quiet(self):
        """Nobody follows anything: no watch may be left."""
        for process, client in self.world.clients.items():
            left = [path for table in client.session.watches.values() for path in table]
            if left or client._state_listeners:
                self.world.fail("R4", f"{process} still watches {left}")

    def finish(self):
        """All of it was checked."""
