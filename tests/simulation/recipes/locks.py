"""Lock in simulated runs: steps take it, try to take it, are cancelled, and look who has it."""

from recipes import Lock
from recipes.core.errors import LockLost, SessionError
from tests.simulation.recipes.holds import Holds
from tests.simulation.recipes.plan import Step


class Locks:
    """The Workload of a world; see World."""

    kinds = ("lock", "lock", "lock", "lock", "try", "look")
    errors = (LockLost, SessionError)
    expected = ("lock: free", "lock: waited", "try: free", "try: refused", "look", "woken")

    def __init__(self, world):
        self.world = world
        self.holds = Holds(world, "/locks", "lock-")
        self.quiet, self.finish = self.holds.quiet, self.holds.finish
        self.life_ended, self.event = self.holds.life_ended, self.holds.event
        self.holder = self.holds.holder

    def open(self, process, client):
        """What steps of one session share."""
        return [Lock(client, self.holds.path_of(key)) for key in range(3)]

    async def act(self, process, locks, step):
        """Carry out a step."""
        lock = locks[step.key]
        if step.kind == "look":
            await self.look(process, lock, step)
        elif step.kind == "try":
            async with lock.try_acquire() as grant:
                if grant is None:
                    self.world.count("try: refused")
                else:
                    await self.inside(process, step, grant, waited=False)
        else:
            began_us = process.now_us
            async with lock as grant:
                await self.inside(process, step, grant, waited=process.now_us - began_us > 50_000)

    async def inside(self, process, step, grant, waited):
        holding = self.holds.acquired(process, step, grant, waited)
        try:
            await self.holds.use(holding)
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


