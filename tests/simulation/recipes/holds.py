"""What must hold of anything that one at a time holds, as a lock or leadership is: R1 to R5, R8 and R14.

While a run goes on, at the moment of each acquisition: everybody else who holds must have been told (R3). In the end,
over the committed txns: who acquired was first in line by then (R2), fences rise (R1), nobody is left in line (R4).
"""

from contextlib import suppress
from itertools import pairwise

import anyio

from recipes.core.client.watch import DeletionWatch
from recipes.core.errors import NoNode
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import decode_stat
from tests.simulation.recipes.line import Line, number_of


class Holding:
    """One who has acquired.

    hold: the Grant or Term it has. dead: its process is.
    """

    def __init__(self, process, session, step, path, hold, at_us):
        self.process = process
        self.session = session
        self.life = process.life
        self.step = step
        self.path = path
        self.hold = hold
        self.at_us = at_us
        self.left = self.dead = False
        self.downgrades = False

    def __repr__(self):
        return f"{self.process} with fence 0x{self.hold.fence:x}"

    @property
    def told(self):
        """Whether its program knows, or would at its next look, that it does not hold.

        As `hold.ended.is_set()` says, which may wake tasks, and so is for the process itself to call.
        """
        late = self.process.loop.time() >= self.session.expires_at
        return self.dead or self.session.lost or late or bool(self.hold.ended._why)


def owner_id(path):
    """What a place in line is known by; a downgrade keeps it, and its owner may not have heard of the new name."""
    return path.rpartition("/")[2][:19]


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
        self.session_of = world.session_of
        self.root = root
        self.marker = marker
        self.seen = []
        self.exclusion = exclusion
        self.observed = None if observed is None else f"{self.path_of(observed)}/"
        self.held = {}  # path -> everybody who holds there and may not have been told of the end
        self.all = []
        self.guarded = {}
        self.broken = {}  # id of the owner of a znode that somebody else deleted -> when
        # At the latest when the session of whoever does not hear of it has ended.
        self.hears_within_us = world.plan.servers.timeout_ms * 1500 + 1_000_000
        self.woken = {}  # path of a znode that went -> life of a process -> its connection -> the watches that saw it

    # While it runs.

    def path_of(self, key):
        return f"{self.root}/{key}"

    def acquired(self, process, step, hold, waited):
        """A program has what it asked for."""
        world, path = self.world, self.path_of(step.key)
        holding = Holding(process, self.session_of(process, hold), step, path, hold, world.timeline.now_us)
        world.count(f"{step.kind}: {'waited' if waited else 'free'}")
        process.note(f"{step.number} {step.kind} has {path} with 0x{hold.fence:x}")
        others = self.held.setdefault(path, [])
        others[:] = [other for other in others if not other.told]
        for other in [other for other in others if self.excludes(holding, other)]:
            # The one that was broken may also be the one that acquires: it has asked a server that does not know yet.
            if self.is_broken(other.hold.path) or self.is_broken(hold.path):
                world.count("two hold, one was broken just now")
            elif world.plan.bounded:
                world.fail(self.exclusion, f"{holding} acquires {path}, and {other} was not told that it lost it")
            else:
                world.count("two hold, by clocks too far apart")
        others.append(holding)
        self.all.append(holding)
        return holding

    def is_broken(self, path):
        """Whether somebody else deleted the znode that a holder takes for its own."""
        return owner_id(path) in self.broken

    def excludes(self, one, other):
        """Whether the two may not hold at the same time."""
        return True

    async def use(self, holding):
        """Be inside: read and write what is guarded, for as long as the step says."""
        world, step, hold = self.world, holding.step, holding.hold
        guarded = self.guarded.setdefault(holding.path, Guarded())
        for _ in range(2):
            value = guarded.read(hold.fence)
            await anyio.sleep(step.for_us / 2e6)
            if value is None or not guarded.write(hold.fence, value + 1):
                world.count("fence refused")
                if not hold.ended.is_set() and world.plan.bounded and not self.is_broken(hold.path):
                    world.fail(self.exclusion, f"{holding} is refused, and was not told that it lost {holding.path}")
            if hold.lost:
                await anyio.sleep(0.001)
                world.fail("R14", f"{holding} has lost {holding.path}, and its block goes on")
        world.count("body whole")
        told_by_us = self.broken.get(owner_id(hold.path), world.timeline.now_us) + self.hears_within_us
        # A candidate that stands again keeps its id: the znode that went was an earlier one of its own.
        gone = (
            world.timeline.now_us > told_by_us
            and world.reference.changes(hold.path.encode(), 0, 1 << 62)[-1].stat is None
        )
        if gone and not hold.ended.is_set() and not holding.process.pauses:
            world.fail(self.exclusion, f"{holding} is not told that its znode was deleted")

    async def break_open(self, process, client, step):
        """Do what an operator does: delete the znode of who holds. The line itself may be gone, too."""
        with suppress(NoNode):
            await self.delete_first(process, client, step)

    async def delete_first(self, process, client, step):
        line = [name for name in await client.children(self.path_of(step.key)) if self.marker in name]
        if line:
            path = f"{self.path_of(step.key)}/{min(line, key=lambda name: number_of(name.encode()))}"
            self.broken.setdefault(owner_id(path), self.world.timeline.now_us)
            process.note(f"{step.number} breaks {path}")
            await client.delete(path)
            self.world.count("broken")

    def left(self, holding, process):
        """The program leaves the block, for whatever reason; the recipe has to see to the rest."""
        self.world.count("left when lost" if holding.hold.ended.is_set() else "left")
        process.note(f"{holding.step.number} leaves {holding.path}")
        holding.left = True

    def holder(self, process=None):
        """A process that is inside a block now, this one if it is; None when there is none."""
        for others in self.held.values():
            for holding in others:
                if not holding.left and not holding.dead and process in (None, holding.process):
                    return holding.process
        return None

    def life_ended(self, process):
        """It has died, or its program is done."""
        for others in self.held.values():
            for holding in others:
                if holding.process is process and not holding.dead:
                    self.world.count("died outside" if holding.left else "died inside")
                    holding.dead = True

    def event(self, process, kind, path):
        """A watch event has come in."""
        text = path.decode()
        if kind != op.EVENT_DELETED or not text.startswith(f"{self.root}/") or self.marker not in text:
            return
        if self.observed is not None and text.startswith(self.observed):
            return
        client = self.world.clients.get(process)
        if client is None:
            return
        watchers = client.session.watches["data"].get(path, ())
        if self.owner_of(path) == client.session.id:  # it watches its own znode, too
            watchers = [watcher for watcher in watchers if not isinstance(watcher, DeletionWatch)]
        # An event does not say how new it is, so the server of the client's next connection may be behind it: the same
        # waiter then finds the znode there, waits once more, and wakes again.
        told = self.woken.setdefault(text, {}).setdefault((process, process.life), {})
        told.setdefault(process.tap.connections, {}).update((id(watcher), watcher) for watcher in watchers)
        woken = sum(max(map(len, connections.values())) for connections in self.woken[text].values())
        if woken > 1:
            self.world.fail("R5", f"the end of {text} wakes {woken} waiters")
        if watchers:
            self.world.count("woken")

    def owner_of(self, path):
        """The session that made a znode."""
        states = self.world.reference.changes(path, 0, 1 << 62)
        return next((decode_stat(state.stat, 0)[0].ephemeral_owner for state in states if state.stat), 0)

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
            for before, first in pairwise(firsts):
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
