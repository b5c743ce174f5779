"""Counter and IdGenerator in simulated runs: R13. Each step adds a power of four of its own.

So the digits of the number in base four say how often each addition was made: once where it was acknowledged, once or
not at all where nobody knows, never more.
"""

from itertools import pairwise
from typing import NamedTuple

from recipes import Counter, IdGenerator
from recipes.core.errors import SessionError
from tests.simulation.recipes.plan import Step

KEYS = 3


class Addition(NamedTuple):
    """One that was acknowledged."""

    step: Step
    session_id: int
    began_us: int
    ended_us: int
    before: int
    after: int


class Counters:
    """The Workload of a world; see World."""

    kinds = (*["add"] * 10, *["compare"] * 3, *["get"] * 2, *["id"] * 2)
    errors = (SessionError,)
    expected = (
        "add", "add: SessionExpired", "compare: True", "compare: False", "get", "id", "combined", "cancelled",
        "close inside", "nobody knew, made", "nobody knew, not made",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.inside = {}  # (process, number of a step that changes something) -> the life that it is in
        self.begun = {}  # number -> the Step
        self.made = []  # Additions
        self.refused = set()  # numbers of comparisons that failed
        self.ids = {}

    def open(self, process, client):
        """What steps of one session share."""
        counters = [Counter(client, self.path_of(key)) for key in range(KEYS)]
        return counters, IdGenerator(client, "/ids", block=3), client

    async def act(self, process, opened, step):
        """Carry out a step."""
        counters, ids, client = opened
        counter = counters[step.key]
        if step.kind == "id":
            self.took_id(process, await ids.next())
            return
        if step.kind == "get":
            await self.look(process, counter, client.session, step)
            return
        try:
            self.inside[process, step.number] = process.life
            self.begun[step.number] = step
            if step.kind == "add":
                await self.add(process, counter, client.session, step)
            else:
                await self.compare(process, counter, client.session, step)
        finally:
            self.inside.pop((process, step.number), None)

    async def add(self, process, counter, session, step):
        began_us, amount = self.world.timeline.now_us, amount_of(step)
        before, after = await counter.add(amount)
        self.world.count("add")
        if after != before + amount:
            self.world.fail("R13", f"step {step.number} adds {amount} to {before}, and is told {after}")
        self.note(process, step, session, began_us, before, after)

    async def compare(self, process, counter, session, step):
        expected = await counter.get()
        began_us = self.world.timeline.now_us
        new = expected + amount_of(step)
        done = await counter.compare_and_set(expected, new)
        self.world.count(f"compare: {done}")
        if done:
            self.note(process, step, session, began_us, expected, new)
        else:
            self.refused.add(step.number)

    def note(self, process, step, session, began_us, before, after):
        process.note(f"{step.number} {step.kind} makes {after} of {before}")
        self.made.append(Addition(step, session.id, began_us, self.world.timeline.now_us, before, after))

    async def look(self, process, counter, session, step):
        """A session sees what it has been told itself."""
        least = max((each.after for each in self.made_at(step.key) if each.session_id == session.id), default=0)
        found = await counter.get()
        self.world.count("get")
        if found < least:
            self.world.fail("R13", f"{process} reads {found} behind its own {least}")
        if found not in self.values(step.key):
            self.world.fail("R13", f"{process} reads {found}, which never was")

    def took_id(self, process, number):
        self.world.count("id")
        if number in self.ids:
            self.world.fail("R13", f"id {number} is given to {process}, and was to {self.ids[number]}")
        self.ids[number] = process

    def holder(self, process=None):
        """A process with a change under way, this one if it has; None when there is none."""
        return next((each for each, _ in self.inside if process in (None, each)), None)

    def life_ended(self, process):
        """It has died, or its program is done."""
        for key in [key for key in self.inside if key[0] is process]:
            del self.inside[key]

    def event(self, process, kind, path):
        """A watch event has come in: counters set no watches."""
        self.world.fail("R5", f"{process} is told of {path!r}")

    def probes(self):
        """Steps that must succeed at once when nothing goes wrong."""
        return [Step(0, 0, "get", key, 1_000_000 + key, 0, -1, "") for key in range(KEYS)]

    def quiet(self):
        """Nobody has anything to do."""

    def finish(self):
        for key in range(KEYS):
            self.check_digits(key)
            self.check_chain(key)

    def check_digits(self, key):
        """How often each addition was made, by the number that is left."""
        fail, count = self.world.fail, self.world.count
        value = max(self.values(key))
        if value != list(self.values(key))[-1]:
            fail("R13", f"{self.path_of(key)} went back")
        acknowledged = {each.step.number for each in self.made_at(key)}
        for number, step in self.begun.items():
            if step.key != key:
                continue
            times = value >> 2 * number & 3
            value -= times << 2 * number
            if times > 1 or (number in acknowledged and times != 1) or (number in self.refused and times):
                fail("R13", f"step {number}, {step.kind} at {self.path_of(key)}, was made {times} times")
            if number not in acknowledged and number not in self.refused:
                count("nobody knew, made" if times else "nobody knew, not made")
        if value:
            fail("R13", f"{self.path_of(key)} holds {value:#x} that nobody added")

    def check_chain(self, key):
        """What was told forms one chain, in an order that agrees with time."""
        found = sorted(self.made_at(key), key=lambda each: each.before)
        for one, other in pairwise(found):
            if other.before < one.after:
                self.world.fail("R13", f"steps {one.step.number} and {other.step.number} both found {other.before}")
            if other.ended_us < one.began_us:
                self.world.fail("R13", f"step {other.step.number} is told of what step {one.step.number} did later")
        if any(each.after not in self.values(key) for each in found):
            self.world.count("combined")

    def made_at(self, key):
        return [each for each in self.made if each.step.key == key]

    def values(self, key):
        """Everything that the store ever held there, in order."""
        states = self.world.reference.changes(self.path_of(key).encode(), 0, 1 << 62)
        return dict.fromkeys(int(state.data or b"0") for state in states)

    def path_of(self, key):
        return f"/counters/{key}"


def amount_of(step):
    return 1 << 2 * step.number
