"""Group, EphemeralNode and Partitioner in simulated runs: steps join, stay, keep a znode present, and share out items.

What members work on is held by one at a time, as a lock is: R1 to R5 and R14. Who is said to be present has a znode of
its own session (R2), and nobody who has left has one (R4).
"""

import anyio

from recipes import EphemeralNode, Group, Partitioner
from recipes.core.errors import LockLost, MembershipLost, NoNode, SessionError
from recipes.core.jute.records import decode_stat
from tests.simulation.recipes.holds import Holds
from tests.simulation.recipes.line import Line
from tests.simulation.recipes.plan import Step

ITEMS = ("0", "1", "2")
GROUP = "/groups/group"


class Enough(Exception):
    """What a member raises that has worked for long enough."""


def first_of(errors):
    """The first error that is not Enough; None if there is none."""
    _, others = errors.split(Enough)
    while isinstance(others, ExceptionGroup):
        others = others.exceptions[0]
    return others


class Memberships:
    """The Workload of a world; see World."""

    kinds = (*["divide"] * 5, *["stay"] * 4, *["node"] * 4, *["join"] * 3, *["look"] * 2, *["evict"] * 2, "break")
    errors = (MembershipLost, LockLost, SessionError)
    expected = (
        "divide: free", "stay: present", "stay: stood", "stay: gone", "node: present", "node: stood", "node: gone",
        "join: member", "join: MembershipLost", "look", "evicted", "broken", "body whole", "left when lost",
        "cancelled", "died inside", "close inside", "container removed",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.holds = Holds(world, "/parts/items", "lock-")
        self.finish = self.holds.finish
        self.life_ended, self.event = self.holds.life_ended, self.holds.event
        self.holder = self.holds.holder
        self.line = Line(world.reference, GROUP, "member-")

    def open(self, process, client):
        """What steps of one session share."""
        return client

    async def act(self, process, client, step):
        """Carry out a step."""
        if step.kind == "divide":
            await self.divide(process, client, step)
        elif step.kind == "look":
            await Group(client, GROUP).members()
            self.world.count("look")
        elif step.kind == "break":
            await self.holds.break_open(process, client, step)
        elif step.kind == "evict":
            await self.evict(client)
        elif step.kind == "join":
            async with Group(client, GROUP).join(b"%d" % step.number) as member:
                self.world.count("join: member")
                await anyio.sleep(step.for_us / 1e6)
                if member.lost:
                    await anyio.sleep(0.001)
                    self.world.fail("R14", f"{member} is lost, and its block goes on")
        else:
            # Each node has a name that several want.
            node = EphemeralNode(client, f"/nodes/{step.key}/{step.number % 2}", b"%d" % step.number)
            async with node if step.kind == "node" else Group(client, GROUP).stay() as presence:
                await self.stand(process, client, step, presence)

    async def stand(self, process, client, step, presence):
        """Be present for as long as the step says, with data that change once."""
        self.world.count(f"{step.kind}: present")
        await anyio.sleep(step.for_us / 2e6)
        await presence.update(b"again")
        await anyio.sleep(step.for_us / 2e6)
        self.world.count(f"{step.kind}: {'stood' if presence.present else 'gone'}")
        if not presence.present:
            await presence.wait_present()
        self.check(process, client, presence)

    def check(self, process, client, presence):
        """If it says that it is present, then our session has the znode, or had it until just now."""
        world, session_id = self.world, client.session.id
        if not presence.present or not world.plan.bounded or process.pauses:
            return
        since_us = world.timeline.now_us - self.holds.hears_within_us
        states = world.reference.changes(presence.path.encode(), 0, 1 << 62)
        for state, following in zip(states, [*states[1:], None], strict=True):
            ended_lately = following is None or self.line.at_us(following.zxid) >= since_us
            if ended_lately and state.stat and decode_stat(state.stat, 0)[0].ephemeral_owner == session_id:
                return
        world.fail("R2", f"{process} is said to be present at {presence.path}, which session 0x{session_id:x} has not")

    async def evict(self, client):
        """Do what an operator does: delete the znodes of all who are present."""
        for parent in (GROUP, "/nodes/0"):
            for path in await client.ephemerals(parent):
                try:
                    await client.delete(path)
                    self.world.count("evicted")
                except NoNode:
                    pass

    async def divide(self, process, client, step):
        """Take part in sharing out the items, until there was one for us and the time is up."""
        until = process.loop.time() + 4 * step.for_us / 1e6

        async def work(partition):
            of_item = step._replace(key=ITEMS.index(partition.item))
            holding = self.holds.acquired(process, of_item, partition, waited=False)
            try:
                await self.holds.use(holding)
            finally:
                self.holds.left(holding, process)
            if process.loop.time() >= until:
                raise Enough

        try:
            # Not ended by a scope around it: anyio gives that also the cancellation of a task that comes meanwhile.
            await Partitioner(client, "/parts", ITEMS).run(work)
        except ExceptionGroup as errors:
            if error := first_of(errors):
                raise error from errors

    def quiet(self):
        """Nobody has anything to do: nobody may be present or have a place."""
        self.holds.quiet()
        tree = self.world.reference.tree
        for parent in (GROUP, "/nodes/0", "/nodes/1", "/nodes/2", "/parts/members"):
            node = tree.find(parent.encode())
            for name in tree.children_names(parent.encode()) if node is not None else ():
                self.world.fail("R4", f"{parent}/{name.decode()} is left behind")

    def probes(self):
        """Steps that must succeed at once when nothing goes wrong."""
        kinds = ("divide", "stay", "node", "join")
        return [Step(0, 0, kind, 0, 1_000_000 + number, 0, -1, "") for number, kind in enumerate(kinds)]
