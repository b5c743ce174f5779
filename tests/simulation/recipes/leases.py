"""Permits by the names of kazoo and Curator in simulated runs: each is a znode that is made while a lock is held.

R3: at no time has a semaphore more permits out than its limit. R2: who has one has a znode of its session. R4, R14, L5
as for other locks.
"""

import anyio

from recipes import Semaphore
from recipes.core.errors import LockLost, NoNode, SessionError
from recipes.core.jute.records import decode_stat
from recipes.naming import leases_of
from tests.simulation.recipes.clean_up import at_the_end
from tests.simulation.recipes.insiders import Insiders
from tests.simulation.recipes.plan import Step

LIMIT = 2
NAMINGS = ("curator", "kazoo", "curator")  # of each of the three semaphores


class Leases(Insiders):
    """The Workload of a world; see World."""

    kinds = (*["take"] * 8, *["try"] * 3, *["within"] * 3, *["acquire"] * 2, *["look"] * 2, "break")
    errors = (LockLost, SessionError)
    expected = (
        "take: held", "try: held", "try: refused", "within: held", "within: refused", "acquire: held", "look", "broken",
        "take: LockLost", "together", "died inside", "cancelled", "close inside", "container removed",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.inside = {}  # (process, number) of a step -> the path of its permit

    def leases(self, key):
        return leases_of(f"/leases/{key}", NAMINGS[key], b"")

    def open(self, process, client):
        """What steps of one session share."""
        return [Semaphore(client, f"/leases/{key}", LIMIT, naming=NAMINGS[key]) for key in range(3)], client

    async def act(self, process, opened, step):
        """Carry out a step."""
        semaphores, client = opened
        semaphore = semaphores[step.key]
        if step.kind == "look":
            await semaphore.holders()
            await semaphore.waiters()
            self.world.count("look")
        elif step.kind == "break":
            await self.break_open(client, step)
        elif step.kind == "acquire":
            grant = await semaphore.acquire()
            async with at_the_end(grant.release):
                await self.hold(process, step, grant)
        else:
            within = {"take": float("inf"), "try": 0.0, "within": step.for_us / 1e6}[step.kind]
            async with semaphore.try_acquire(within=within) as grant:
                if grant is None:
                    self.world.count(f"{step.kind}: refused")
                    return
                await self.hold(process, step, grant)
                if grant.lost:
                    await anyio.sleep(0.001)
                    self.world.fail("R14", f"{grant} is lost, and its block goes on")

    async def hold(self, process, step, grant):
        world, path = self.world, grant.path
        world.count(f"{step.kind}: held")
        process.note(f"{step.number} has {path}")
        states = [state for state in world.reference.changes(path.encode(), 0, 1 << 62) if state.stat is not None]
        if not states or decode_stat(states[0].stat, 0)[0].ephemeral_owner != grant.session_id:
            world.fail("R2", f"{process} has the permit {path}, which its session never had")
        self.inside[process, step.number] = path
        try:
            await anyio.sleep(step.for_us / 1e6)
        finally:
            self.inside.pop((process, step.number), None)

    async def break_open(self, client, step):
        """Do what an operator does: delete a permit, or the place of who waits."""
        where = self.leases(step.key)
        parent = where.lock_path if step.number % 4 == 0 else where.path
        try:
            if names := await client.children(parent):
                await client.delete(f"{parent}/{min(names)}")
                self.world.count("broken")
        except NoNode:
            pass

    def event(self, process, kind, path):
        """A watch event has come in."""

    def quiet(self):
        """Nobody has anything to do: no permit is out, and nobody waits."""
        for key in range(3):
            where = self.leases(key)
            for parent in (where.path, where.lock_path):
                for name in self.world.reference.at(parent.encode(), 1 << 62).children:
                    self.world.fail("R4", f"{parent}/{name.decode()} is left behind")

    def finish(self):
        for key in range(3):
            path = self.leases(key).path
            for state in self.world.reference.changes(path.encode(), 0, 1 << 62):
                if len(state.children) > LIMIT:
                    self.world.fail("R3", f"{len(state.children)} permits are out at {path} at 0x{state.zxid:x}")
                elif len(state.children) == LIMIT:
                    self.world.count("together")

    def probes(self):
        """Steps that must succeed at once when nothing goes wrong."""
        return [Step(0, 0, "take", key, 1_000_000 + key, 0, -1, "") for key in range(3)]
