"""ReadWriteLock in simulated runs: steps read, write, downgrade, try, are cancelled, and look who is inside."""

import anyio

from recipes import ReadWriteLock
from recipes.core.errors import LockLost, SessionError
from tests.simulation.recipes.clean_up import at_the_end
from tests.simulation.recipes.plan import Step
from tests.simulation.recipes.shares import Shares


class ReadWriteLocks:
    """The Workload of a world; see World."""

    kinds = (
        *["read"] * 6, *["write"] * 4, *["downgrade"] * 3, "try read", "try write", "read within", "write within",
        *["acquire"] * 2, "look", "break",
    )  # fmt: skip
    errors = (LockLost, SessionError)
    expected = (
        "read: free", "read: waited", "write: free", "write: waited", "downgrade: free", "downgraded", "together",
        "try read: free", "try read: refused", "try write: refused", "read within: free", "write within: free",
        "acquire: free", "look", "woken", "broken", "body whole", "left when lost", "died inside", "cancelled",
        "close inside", "write: LockLost",
        "container removed",
    )  # fmt: skip

    namings = ("native", "native", "native")  # of each of the three locks

    def __init__(self, world):
        self.world = world
        self.holds = Shares(world, "/rwlocks", ("read", "write"))
        self.quiet, self.finish = self.holds.quiet, self.holds.finish
        self.life_ended, self.event = self.holds.life_ended, self.holds.event
        self.holder = self.holds.holder

    def open(self, process, client):
        """What steps of one session share."""
        paths = [self.holds.path_of(key) for key in range(3)]
        return [ReadWriteLock(client, path, naming=self.namings[key]) for key, path in enumerate(paths)], client

    async def act(self, process, opened, step):
        """Carry out a step."""
        locks, client = opened
        lock = locks[step.key]
        began_us = process.now_us
        if step.kind == "look":
            await lock.holders()
            await lock.waiters()
            self.world.count("look")
        elif step.kind == "break":
            await self.holds.break_open(process, client, step)
        elif step.kind == "acquire":
            await self.acquire(process, lock, step)
        elif step.kind.startswith("try") or step.kind.endswith("within"):
            within = 0.0 if step.kind.startswith("try") else step.for_us / 1e6
            side = lock.try_read if "read" in step.kind else lock.try_write
            async with side(within=within) as grant:
                if grant is None:
                    self.world.count(f"{step.kind}: refused")
                else:
                    await self.inside(process, step, grant, waited=False)
        else:
            async with lock.read() if step.kind == "read" else lock.write() as grant:
                await self.inside(process, step, grant, waited=process.now_us - began_us > 50_000)

    async def inside(self, process, step, grant, waited):
        holding = self.holds.acquired(process, step, grant, waited)
        try:
            if step.kind == "downgrade":
                await self.downgrade(process, holding)
            await self.holds.use(holding)
        finally:
            self.holds.left(holding, process)

    async def downgrade(self, process, holding):
        await anyio.sleep(holding.step.for_us / 4e6)
        before = holding.hold.path
        holding.downgrades = True
        await holding.hold.downgrade()
        process.note(f"{holding.step.number} goes on as a reader")
        self.world.count("downgraded")
        self.holds.downgraded.append((before, holding.hold.path))

    async def acquire(self, process, lock, step):
        """Hold for more than a block; nobody is cancelled when it is lost."""
        grant = await (lock.acquire_read() if step.number % 2 else lock.acquire_write())
        holding = self.holds.acquired(process, step, grant, waited=False)
        async with at_the_end(grant.release):
            try:
                await anyio.sleep(step.for_us / 1e6)
            finally:
                self.holds.left(holding, process)

    def probes(self):
        """Steps that must succeed at once when nothing goes wrong."""
        return [
            Step(0, 0, kind, key, number + key, 0, -1, "")
            for key in range(3)
            for number, kind in ((1_000_000, "read"), (2_000_000, "write"))
        ]


class NamedReadWriteLocks(ReadWriteLocks):
    """The same, by the names of other libraries."""

    namings = ("kazoo", "curator", "kazoo")
