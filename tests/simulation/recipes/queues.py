"""Queue in simulated runs: no item is lost, none is acknowledged twice, one consumer at a time has it (R9, R3, R1).

Every put has data of its own. What a program knows of each is kept here: whether its put was acknowledged, who has had
it in hand, whether a block was whole, whether an acknowledgement was.
"""

import re

import anyio

from recipes import Queue
from recipes.core.errors import AckLost, QueueFull, SessionError
from tests.simulation.recipes.holds import Holding
from tests.simulation.recipes.plan import Step

CLAIM = re.compile(rb"/queues/.*/items/[^/]+/c[0-9]+")
ROOM = 12  # of the queue that has a capacity


class Failure(Exception):
    """What a block raises that fails on purpose."""


def first_of(error):
    return first_of(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


class Item:
    """What is known of one put. acknowledged: a block's end has said so."""

    def __init__(self, path):
        self.path = path
        self.was_put = self.was_whole = self.acknowledged = self.was_taken = False
        self.fence = 0
        self.holding = None


class Queues:
    """The Workload of a world; see World."""

    kinds = (
        *["put"] * 9, *["put many"] * 2, "put key", *["receive"] * 5, *["consume"] * 3, *["fail"] * 2, "release",
        "take", "look",
    )  # fmt: skip
    errors = (AckLost, SessionError, QueueFull)
    expected = (
        "put: acknowledged", "put many: acknowledged", "put key: acknowledged", "put key: there already",
        "receive: item", "receive: none", "consume: item", "fail: item", "release: item", "take: item", "look",
        "failed", "released", "acknowledged", "cancelled", "again", "dead letter", "AckLost", "died inside",
        "QueueFull",
        "container removed",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.items = {}  # data -> Item
        self.holdings = []
        self.unsure_takes = 0

    def path_of(self, key):
        return f"/queues/{key}"

    def open(self, process, client):
        """What steps of one session share."""
        rules = {"max_deliveries": 2, "retry_delay": (0.01, 0.1)}
        return [Queue(client, self.path_of(key), capacity=ROOM if key == 2 else None, **rules) for key in range(3)]

    async def act(self, process, queues, step):
        """Carry out a step."""
        queue = queues[step.key]
        if step.kind.startswith("put"):
            await self.put(process, queue, step)
        elif step.kind == "look":
            await queue.counts()
            await queue.peek(2)
            self.world.count("look")
        elif step.kind == "take":
            await self.take(queue, step)
        elif step.kind == "consume":
            await self.consume(process, queue, step)
        elif step.kind == "drain":
            await self.drain(process, queue, step)
        else:
            try:
                await self.receive(process, queue, step)
            except Failure:
                self.world.count("failed")

    async def receive(self, process, queue, step):
        async with queue.try_receive(within=step.for_us / 1e6) as message:
            if message is None:
                self.world.count(f"{step.kind}: none")
                return
            await self.inside(process, step, message)
        self.whole(step, message)

    async def put(self, process, queue, step):
        names = [b"%d.%d.%d.%d" % (process.site, process.life, step.number, number) for number in range(3)]
        if step.kind != "put many":
            del names[1:]
        for name in names:
            self.items[name] = Item(self.path_of(step.key))
        try:
            if step.kind == "put many":
                await queue.put_many(names, within=0.05)
                done = True
            else:
                key = f"key {step.number % 2}" if step.kind == "put key" else None
                delay = 0.2 if step.number % 5 == 0 else 0
                done = await queue.put(names[0], key=key, delay=delay, within=0.05, priority=90 + step.number % 2 * 20)
        except QueueFull:
            self.world.count("QueueFull")
            return
        self.world.count(f"{step.kind}: {'acknowledged' if done else 'there already'}")
        process.note(f"{step.number} has put {names if done else 'nothing'}")
        for name in names:
            self.items[name].was_put = done

    async def take(self, queue, step):
        """At most once: one that is interrupted may have cost an item."""
        self.unsure_takes += 1
        with anyio.move_on_after(0.02 + step.for_us / 1e6) as scope:
            item = self.items[await queue.take()]
            if item.acknowledged or item.was_taken:
                self.world.fail("R9", f"{step} takes what is gone")
            item.was_taken = True
            self.unsure_takes -= 1
            self.world.count("take: item")
        if scope.cancelled_caught:
            self.world.count("take: none")

    async def consume(self, process, queue, step):
        async with queue.consume(concurrency=2, prefetch=(0, 1, 8)[step.number % 3]) as messages:
            try:
                async with anyio.create_task_group() as tasks:
                    for _ in range(2):
                        tasks.start_soon(self.iterate, process, messages, step)
                    await anyio.sleep(0.05 + step.for_us / 1e6)
                    await messages.drain(within=step.for_us / 1e6)
            except ExceptionGroup as group:
                ours, others = group.split(self.errors)
                if others is not None:
                    raise
                self.world.count("consume: interrupted")
                raise first_of(ours) from None

    async def iterate(self, process, messages, step):
        try:
            async for message in messages:
                async with message:
                    await self.inside(process, step, message)
                self.whole(step, message)
        except AckLost:
            self.world.count("AckLost")

    async def inside(self, process, step, message):
        """Have an item in hand."""
        world, item = self.world, self.items.get(message.data)
        world.count(f"{step.kind}: item")
        process.note(f"{step.number} {step.kind} has {message.data} with 0x{message.fence:x}")
        if item is None:
            world.fail("R9", f"{message.data} is handed out, and nobody has put it")
        elif item.acknowledged or item.was_taken:
            world.fail("R9", f"{message.data} is handed out again, and it was acknowledged")
        elif message.fence <= item.fence:
            world.fail("R1", f"{message.data} is handed out with 0x{message.fence:x} behind 0x{item.fence:x}")
        session = world.session_of(process, message)
        holding = Holding(process, session, step, message.data, message, world.timeline.now_us)
        if item.fence:
            world.count("again")
        if item.holding is not None and not item.holding.left and not item.holding.told:
            if world.plan.bounded:
                world.fail("R3", f"{holding} has {message.data}, and {item.holding} was not told that it lost it")
            world.count("two hold, by clocks too far apart")
        item.fence, item.holding = message.fence, holding
        self.holdings.append(holding)
        try:
            await anyio.sleep(step.for_us / 4e6)
            if step.kind == "fail":
                raise Failure
            if step.kind == "release":
                holding.left = True
                await message.release()
                world.count("released")
            else:
                item.was_whole = True
        finally:
            holding.left = True

    def whole(self, step, message):
        """The block has ended, and nobody has said that the claim was lost."""
        item = self.items[message.data]
        if step.kind == "release" or not item.was_whole or message.why != "acknowledged":
            return
        if item.acknowledged:
            self.world.fail("R9", f"{message.data} is acknowledged twice")
        item.acknowledged = True
        self.world.count("acknowledged")

    async def drain(self, process, queue, step):
        """Take whatever is left."""
        while await queue.size():
            async with queue.try_receive(within=0.05) as message:
                if message is not None:
                    await self.inside(process, step, message)
            if message is not None:
                self.whole(step, message)
        letters = queue.dead_letters
        while await letters.size():
            async with letters.try_receive(within=0.05) as message:
                if message is not None:
                    self.items[message.data].was_whole = True
                    self.world.count("dead letter")

    def probes(self):
        """Steps that must succeed when nothing goes wrong."""
        return [Step(0, 0, "drain", key, 1_000_000 + key, 0, -1, "") for key in range(3)]

    def holder(self, process=None):
        """A process that has something in hand, this one if it has."""
        for holding in self.holdings:
            if not holding.left and not holding.dead and process in (None, holding.process):
                return holding.process
        return None

    def life_ended(self, process):
        """It has died, or its program is done."""
        for holding in self.holdings:
            if holding.process is process and not holding.dead:
                if not holding.left:
                    self.world.count("died inside")
                holding.dead = True

    def event(self, process, kind, path):
        """A watch event has come in."""

    def quiet(self):
        """Nobody has anything to do: nobody may have a claim, since nothing would end it before the session."""
        for path, node in self.world.reference.tree.items():
            if node.owner and CLAIM.fullmatch(path):
                self.world.fail("R4", f"{path.decode()} is left behind")

    def finish(self):
        lost = [data for data, item in self.items.items() if item.was_put and not (item.was_whole or item.was_taken)]
        if len(lost) > self.unsure_takes:
            self.world.fail("R9", f"{lost} were put and never handled; {self.unsure_takes} takes were interrupted")
