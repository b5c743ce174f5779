"""Lock in simulated runs: steps take it, try to take it, are cancelled, and look who has it."""

import anyio

from recipes import Lock
from recipes.core.errors import LockLost, SessionError
from tests.simulation.recipes.clean_up import at_the_end
from tests.simulation.recipes.holds import Holds
from tests.simulation.recipes.plan import Step

UNCONFIRMED = 1  # the key of the lock that is left with `confirm=False`, and taken twice in a row


class Locks:
    """The Workload of a world; see World."""

    kinds = (*["lock"] * 8, *["try"] * 2, *["try within"] * 2, *["acquire"] * 2, *["look"] * 2, "break")
    errors = (LockLost, SessionError)
    expected = (
        "lock: free", "lock: waited", "lock: LockLost", "try: free", "try: refused", "try within: free",
        "try within: refused", "acquire: free", "acquire: LockLost", "look", "woken", "broken", "body whole",
        "left when lost", "died inside", "fence refused", "cancelled", "close inside",
        "container removed",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.holds = Holds(world, "/locks", "lock-")
        self.quiet, self.finish = self.holds.quiet, self.holds.finish
        self.life_ended, self.event = self.holds.life_ended, self.holds.event
        self.holder = self.holds.holder

    def open(self, process, client):
        """What steps of one session share."""
        return [Lock(client, self.holds.path_of(key), confirm=key != UNCONFIRMED) for key in range(3)], client

    async def act(self, process, opened, step):
        """Carry out a step."""
        locks, client = opened
        lock = locks[step.key]
        if step.kind == "look":
            await self.look(process, lock, step)
        elif step.kind == "break":
            await self.holds.break_open(process, client, step)
        elif step.kind == "acquire":
            await self.acquire(process, lock, step)
        elif step.kind in ("try", "try within"):
            within = 0.0 if step.kind == "try" else step.for_us / 1e6
            async with lock.try_acquire(within=within) as grant:
                if grant is None:
                    self.world.count(f"{step.kind}: refused")
                else:
                    await self.inside(process, step, grant, waited=False)
        else:
            for _ in range(2 if step.key == UNCONFIRMED else 1):
                began_us = process.now_us
                async with lock as grant:
                    await self.inside(process, step, grant, waited=process.now_us - began_us > 50_000)

    async def inside(self, process, step, grant, waited):
        holding = self.holds.acquired(process, step, grant, waited)
        try:
            await self.holds.use(holding)
        finally:
            self.holds.left(holding, process)

    async def acquire(self, process, lock, step):
        """Hold for more than a block; nobody is cancelled when it is lost."""
        grant = await lock.acquire()
        holding = self.holds.acquired(process, step, grant, waited=False)
        async with at_the_end(grant.release):
            try:
                await anyio.sleep(step.for_us / 1e6)
            finally:
                self.holds.left(holding, process)

    async def look(self, process, lock, step):
        holders = await lock.holders()
        await lock.waiters()
        self.world.count("look")
        process.note(f"{step.number} sees {[f'{holder.fence:x}' for holder in holders]}")

    def probes(self):
        """Steps that must succeed at once when nothing goes wrong."""
        return [Step(0, 0, "lock", key, 1_000_000 + key, 0, -1, "") for key in range(3)]
