"""Semaphore in simulated runs: steps take permits, try to, resize it, are cancelled, and look who has them."""

import json

import anyio

from recipes import Semaphore
from recipes.core.errors import BadArguments, LockLost, NoNode, SessionError, SettingsDiffer
from tests.simulation.recipes.clean_up import at_the_end
from tests.simulation.recipes.plan import Step
from tests.simulation.recipes.shares import FIRST_LIMIT, PROBES, Shares


class Semaphores:
    """The Workload of a world; see World."""

    kinds = (*["take"] * 9, *["try"] * 2, *["within"] * 2, *["acquire"] * 2, "resize", "look", "break")
    errors = (LockLost, SessionError, SettingsDiffer, BadArguments)
    expected = (
        "take: free", "take: waited", "try: free", "try: refused", "within: free", "within: refused", "acquire: free",
        "resized", "together", "look", "woken", "broken", "body whole", "left when lost", "died inside", "cancelled",
        "close inside", "take: LockLost", "take: BadArguments",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.holds = Shares(world, "/semaphores", ("permits",))
        self.quiet, self.finish = self.holds.quiet, self.holds.finish
        self.life_ended, self.event = self.holds.life_ended, self.holds.event
        self.holder = self.holds.holder

    def open(self, process, client):
        """What steps of one session share."""
        return client

    async def act(self, process, client, step):
        """Carry out a step."""
        began_us = process.now_us
        if step.kind == "break":
            await self.holds.break_open(process, client, step)
            return
        if step.kind.startswith("late"):
            await anyio.sleep(step.for_us / 1e6)
            held_us = 100_000 * process.chance.randrange(6)
            step = step._replace(kind=step.kind.partition(" ")[2] or "take", for_us=held_us)
        semaphore = await self.semaphore(client, step)
        permits = 2 if step.number % 4 == 0 else 1
        if step.kind == "look":
            await semaphore.holders()
            await semaphore.waiters()
            self.world.count("look")
        elif step.kind == "resize":
            await semaphore.resize(1 + step.number % 4)
            self.world.count("resized")
        elif step.kind == "acquire":
            await self.acquire(process, semaphore, step, permits)
        else:
            within = {"take": float("inf"), "try": 0.0, "within": step.for_us / 1e6}[step.kind]
            async with semaphore.try_acquire(permits, within=within) as grant:
                if grant is None:
                    self.world.count(f"{step.kind}: refused")
                else:
                    await self.inside(process, step, grant, waited=process.now_us - began_us > 50_000)

    async def semaphore(self, client, step):
        """With the limit that is stored, for whoever resizes it tells the others."""
        path = self.holds.path_of(step.key)
        try:
            data, _ = await client.get(path)
        except NoNode:
            data = b""
        return Semaphore(client, path, json.loads(data)["limit"] if data else FIRST_LIMIT)

    async def inside(self, process, step, grant, waited):
        holding = self.holds.acquired(process, step, grant, waited)
        try:
            await self.holds.use(holding)
        finally:
            self.holds.left(holding, process)

    async def acquire(self, process, semaphore, step, permits):
        """Hold for more than a block; nobody is cancelled when it is lost."""
        grant = await semaphore.acquire(permits)
        holding = self.holds.acquired(process, step, grant, waited=False)
        async with at_the_end(grant.release):
            try:
                await anyio.sleep(step.for_us / 1e6)
            finally:
                self.holds.left(holding, process)

    def probes(self):
        """Steps that must succeed at once when nothing goes wrong."""
        # At two paths one after the other is resized, while some hold, some wait, and each for another time.
        return [
            *(Step(0, 0, "take", key, PROBES + 1 + 4 * key, 0, -1, "") for key in range(3)),
            Step(0, 0, "resize", 0, PROBES + 15, 0, -1, ""),  # to four
            Step(0, 0, "resize", 1, PROBES + 16, 0, -1, ""),  # to one
            *(Step(0, 0, "late", key, PROBES + 21 + key, 50_000, -1, "") for key in (0, 1)),
            Step(0, 0, "late resize", 0, PROBES + 29, 100_000, -1, ""),  # to two
            Step(0, 0, "late resize", 1, PROBES + 31, 100_000, -1, ""),  # to four
            *(Step(0, 0, "late", key, PROBES + 41 + key, 150_000, -1, "") for key in (0, 1)),
        ]
