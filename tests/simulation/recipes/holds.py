"""What must hold of anything that one at a time holds, as a lock or leadership is: R1 to R5, R8 and R14.

While a run goes on, at the moment of each acquisition: everybody else who holds must have been told (R3). In the end,
over the committed txns: who acquired was first in line by then (R2), fences rise (R1), nobody is left in line (R4).
"""

from collections import Counter

import anyio

from recipes.core.jute import opcodes as op
from tests.simulation.recipes.line import Line


class Holding:
    """One who has acquired.

    hold: the Grant or Term it has. over: the program has left the block, or died.
    """

    def __init__(self, process, step, path, hold, at_us):
        self.process = process
        self.life = process.life
        self.step = step
        self.path = path
        self.hold = hold
        self.at_us = at_us
        self.over = False

    def __repr__(self):
        return f"{self.process} with fence 0x{self.hold.fence:x}"

    @property
    def told(self):
        """Whether its program knows, or would at its next look, that it does not hold."""
        return self.over or is_ended(self.hold)


def is_ended(hold):
    return hold.lost.is_set()


class Guarded:
    """Something outside of the store, which refuses whoever shows a fence lower than one it has seen."""

    def __init__(self):
        self.highest = self.value = self.accepted = 0

    def read(self, fence):
        """The value, or None when the fence is refused."""
        if fence < self.highest:
            return None
        self.highest = fence
        return self.value

    def write(self, fence, value):
        """Whether it was taken."""
        if fence < self.highest:
            return False
        self.highest = fence
        self.value = value
        self.accepted += 1
        return True


class Holds:
    """Everybody who holds something below `root`, one at a time per path.

    marker: what stands before the number in the names of those in line. exclusion: the name of what is broken when two
    hold at once. observed: a key where a release may wake more than one, since others than waiters look.
    """

    def __init__(self, world, root, marker, exclusion="R3", observed=None):
        self.world = world
        self.root = root
        self.marker = marker
        self.seen = []
        self.exclusion = exclusion
        self.observed = None if observed is None else f"{self.path_of(observed)}/"
        self.held = {}  # path -> everybody who holds there and may not have been told of the end
        self.all = []
        self.guarded = {}
        self.woken = Counter()
        self.owners = {}  # path of a znode that holds -> its session, which watches it too

    # While it runs.

    def path_of(self, key):
        return f"{self.root}/{key}"

    def acquired(self, process, step, hold, waited):
        """A program has what it asked for."""
        world, path = self.world, self.path_of(step.key)
        holding = Holding(process, step, path, hold, world.timeline.now_us)
        world.count(f"{step.kind}: {'waited' if waited else 'free'}")
        process.note(f"{step.number} {step.kind} has {path} with 0x{hold.fence:x}")
        others = self.held.setdefault(path, [])
        others[:] = [other for other in others if not other.told]
        for other in others:
            if world.plan.bounded:
                world.fail(self.exclusion, f"{holding} acquires {path}, and {other} was not told that it lost it")
            world.count("two hold, by clocks too far apart")
        others.append(holding)
        self.owners[hold.path] = hold.session_id
        self.all.append(holding)
        return holding

    async def use(self, holding):
        """Be inside: read and write what is guarded, for as long as the step says."""
        world, step, hold = self.world, holding.step, holding.hold
        guarded = self.guarded.setdefault(holding.path, Guarded())
        for _ in range(2):
            value = guarded.read(hold.fence)
            await anyio.sleep(step.for_us / 2e6)
            if value is None or not guarded.write(hold.fence, value + 1):
                world.count("fence refused")
                if not is_ended(hold) and world.plan.bounded:
                    world.fail(self.exclusion, f"{holding} is refused, and was not told that it lost {holding.path}")
                return
        world.count("body whole")

    def left(self, holding, process):
        """The program leaves the block, for whatever reason."""
        self.world.count("left when lost" if is_ended(holding.hold) else "left")
        process.note(f"{holding.step.number} leaves {holding.path}")
        holding.over = True

    def holder(self):
        """A process that holds something now."""
        inside = [holding.process for others in self.held.values() for holding in others if not holding.over]
        return inside[-1] if inside else None

    def life_ended(self, process):
        """It has died, or its program is done."""
        for others in self.held.values():
            for holding in others:
                if holding.process is process and not holding.over:
                    self.world.count("died inside")
                    holding.over = True

    def event(self, process, kind, path):
        """A watch event has come in."""
        text = path.decode()
        if kind != op.EVENT_DELETED or not text.startswith(f"{self.root}/") or self.marker not in text:
            return
        if self.observed is not None and text.startswith(self.observed):
            return
        client = self.world.clients.get(process)
        if client is not None and self.owners.get(text) != client.session.id:
            waiters = client.session.watches["data"].get(path, ())
            self.woken[text] += len(waiters)
            if self.woken[text] > 1:
                self.world.fail("R5", f"the end of {text} wakes {self.woken[text]} waiters")
            self.world.count("woken")

    def saw(self, process, step, path, fence, since_zxid):
        """A program has read that `path` holds; its session had seen `since_zxid` before it asked."""
        self.world.count("seen")
        process.note(f"{step.number} sees 0x{fence:x}")
        self.seen.append((self.path_of(step.key), path, fence, since_zxid, self.world.timeline.now_us))

    # In the end.

    def quiet(self):
        """Nobody has anything to do: nobody may stand in line."""
        for line in self.lines():
            for path in line.now():
                self.world.fail("R4", f"{path} is left behind")

    def finish(self):
        for line in self.lines():
            firsts = line.firsts()
            for before, first in zip(firsts, firsts[1:], strict=False):
                if first.fence <= before.fence:
                    self.world.fail("R1", f"{first.path} has fence 0x{first.fence:x} behind 0x{before.fence:x}")
            by_path = {first.path: first for first in firsts}
            fences = {}
            for holding in self.all:
                if holding.path == line.parent:
                    self.check(holding, by_path, fences)
            for parent, path, fence, since_zxid, at_us in self.seen:
                if parent == line.parent:
                    self.check_seen(path, fence, since_zxid, at_us, line, firsts)
        for path, guarded in self.guarded.items():
            if guarded.value != guarded.accepted:
                self.world.fail("R1", f"{guarded.accepted} additions were taken at {path}, it shows {guarded.value}")

    def check(self, holding, firsts, fences):
        hold, fail = holding.hold, self.world.fail
        first = firsts.get(hold.path)
        if first is None or first.at_us > holding.at_us:
            fail("R2", f"{holding} acquires with {hold.path}, which was not first in line")
        elif first.fence != hold.fence:
            fail("R1", f"{holding} has fence 0x{hold.fence:x}, its znode was made by 0x{first.fence:x}")
        elif first.session_id != hold.session_id:
            fail("R2", f"{holding} acquires with {hold.path}, which session 0x{first.session_id:x} owns")
        if hold.fence in fences:
            fail("R1", f"{holding} has the fence of {fences[hold.fence]}")
        fences[hold.fence] = holding

    def check_seen(self, path, fence, since_zxid, at_us, line, firsts):
        """Whoever was read to hold must have held at some time between what the reader knew and its answer."""
        for number, first in enumerate(firsts):
            if first.path == path and first.fence == fence and first.at_us <= at_us:
                ended = firsts[number + 1].zxid if number + 1 < len(firsts) else 1 << 62
                found = self.world.reference.changes(path.encode(), first.zxid, 1 << 62)
                ended = min([ended, *(state.zxid for state in found if state.stat is None)])
                if ended > since_zxid:
                    return
        self.world.fail("R8", f"{path} with 0x{fence:x} is said to hold, and did not behind 0x{since_zxid:x}")

    def lines(self):
        return [Line(self.world.reference, self.path_of(key), self.marker) for key in range(3)]
