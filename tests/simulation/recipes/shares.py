"""What must hold of anything that several may hold at once: readers and writers, and permits: R1 to R5, R8 and R14.

As for what one at a time holds; see holds.py. In the end the committed txns are judged by rules of our own: who had a
right to what is told from the line and the limit as they were at each zxid.
"""

import json
from itertools import pairwise
from typing import NamedTuple

import anyio

from recipes.core.jute import opcodes as op
from recipes.core.jute.records import decode_stat
from tests.simulation.recipes.holds import Guarded, Holds, owner_id
from tests.simulation.recipes.line import Line, number_of

FIRST_LIMIT = 3  # of a semaphore, as its users give it
PROBES = 1_000_000  # steps are numbered from here that run when nothing goes wrong
_PROMPT_US = 100_000  # so soon one that waits hears then that it is its turn


class Right(NamedTuple):
    """A znode had a right to hold from `zxid` (at `at_us`) on, until it went."""

    zxid: int
    at_us: int
    fence: int
    session_id: int


class ShareLine(Line):
    """A line in which several may hold."""

    def names(self, children):
        """In order."""
        return sorted((name for name in children if kind_of(name)), key=number_of)

    def rights(self):
        """Path -> Rights, of each that ever had one; and what is wrong with the line itself.

        A path has several where its znode was deleted before its owner heard of it, and made again in a parent that
        was new, too, so that numbers began anew.
        """
        found, wrong = {}, []
        holding = []
        for zxid, names, limit in self.states():
            before = [name for name in holding if name in names]
            allowed = allowed_by(names, limit)
            holding = [name for name in names if name in before or name in allowed]
            for name in [name for name in holding if name not in before]:
                stat, _ = decode_stat(self._reference.at(self.path(name).encode(), zxid).stat, 0)
                right = Right(zxid, self.at_us(zxid), stat.czxid, stat.ephemeral_owner)
                found.setdefault(self.path(name), []).append(right)
            if len(holding) > len(before) and not compatible(holding, limit):
                wrong.append(f"{[name.decode() for name in holding]} hold together at 0x{zxid:x}")
        return found, wrong

    def states(self):
        """The line at each zxid that changed it or the limit, and the limit then."""
        for state in self._reference.changes(self.parent.encode(), 0, 1 << 62):
            limit = None
            if state.data:
                limit = json.loads(state.data)["limit"]
            yield state.zxid, self.names(state.children), limit

    def lowered(self):
        """When the limit went down."""
        limits = [(zxid, limit) for zxid, _, limit in self.states() if limit is not None]
        return [self.at_us(zxid) for (_, before), (zxid, limit) in pairwise(limits) if limit < before]


_KINDS = {
    b"-read-": b"read", b"__rlock__": b"read", b"-__READ__": b"read",
    b"-write-": b"write", b"__lock__": b"write", b"-__WRIT__": b"write",
    b"-permits-": b"permits",
}  # fmt: skip


def kind_of(name):
    """What a znode in line is there for; None for those of others."""
    return next((kind for marker, kind in _KINDS.items() if marker in name), None)


def permits_of(name):
    return int(name.rpartition(b"-permits-")[2].partition(b"-")[0])


def allowed_by(names, limit):
    """Those that may hold, given a line and the limit."""
    if limit is None:
        writers = [place for place, name in enumerate(names) if kind_of(name) == b"write"]
        if writers and writers[0] == 0:
            return names[:1]
        return names[: writers[0]] if writers else names
    allowed, taken = [], 0
    for name in names:
        taken += permits_of(name)
        if taken > limit:
            break
        allowed.append(name)
    return allowed


def compatible(names, limit):
    """Whether these may hold at the same time."""
    if limit is None:
        return len(names) <= 1 or all(kind_of(name) == b"read" for name in names)
    return sum(map(permits_of, names)) <= limit


class ReadGuarded(Guarded):
    """Refuses whoever reads with a fence lower than that of one that has written, or has read in order to write."""

    def read(self, fence, writes=False):
        if writes:
            return super().read(fence)
        return None if fence < self.highest else self.value


class Shares(Holds):
    """Everybody who holds something below `root`, together with others where that may be. kinds: as in their names."""

    def __init__(self, world, root, kinds):
        super().__init__(world, root, "")
        self.kinds = kinds
        self.downgraded = []  # (path before, path after)

    def excludes(self, one, other):
        return kind(one) != "permits" and (kind(one) == "write" or kind(other) == "write")

    def acquired(self, process, step, hold, waited):
        """A program has what it asked for."""
        holding = super().acquired(process, step, hold, waited)
        holding.znode, holding.began_as = hold.path, kind(holding)
        total = sum(getattr(other.hold, "permits", 0) for other in self.held[holding.path])
        most = max((limit or 0 for _, _, limit in self.line_of(holding.path).states()), default=0)
        broken = any(self.is_broken(other.hold.path) for other in self.held[holding.path])
        if total > max(most, 1) and self.world.plan.bounded and not broken:
            self.world.fail("R3", f"{holding} acquires {holding.path}, where {total} permits are held of {most}")
        if len(self.held[holding.path]) > 1:
            self.world.count("together")
        return holding

    async def use(self, holding):
        """Be inside, and read what is guarded, or write it, too, for as long as the step says."""
        world, step, hold = self.world, holding.step, holding.hold
        guarded = self.guarded.setdefault(holding.path, ReadGuarded())
        for _ in range(2):
            value = guarded.read(hold.fence, kind(holding) == "write")
            await anyio.sleep(step.for_us / 2e6)
            taken = value is not None and (kind(holding) != "write" or guarded.write(hold.fence, value + 1))
            if not taken and kind(holding) != "permits":
                world.count("fence refused")
                if not hold.ended.is_set() and world.plan.bounded and not self.is_broken(hold.path):
                    world.fail("R3", f"{holding} is refused, and was not told that it lost {holding.path}")
            if hold.lost:
                await anyio.sleep(0.001)
                world.fail("R14", f"{holding} has lost {holding.path}, and its block goes on")
        world.count("body whole")

    async def delete_first(self, process, client, step):
        """Do what an operator does: delete the znode of one that holds."""
        names = [name.encode() for name in await client.children(self.path_of(step.key))]
        line = sorted((name for name in names if kind_of(name)), key=number_of)
        if line:
            path = f"{self.path_of(step.key)}/{line[0].decode()}"
            self.broken.setdefault(owner_id(path), self.world.timeline.now_us)
            process.note(f"{step.number} breaks {path}")
            await client.delete(path)
            self.world.count("broken")

    def event(self, process, kind_of_event, path):
        """A watch event has come in. The end of a reader wakes one that waits at most; that of a writer wakes many."""
        if kind_of_event == op.EVENT_DELETED and kind_of(path) == b"read":
            self.marker = next(marker.decode() for marker in _KINDS if marker in path)
            super().event(process, kind_of_event, path)
        elif kind_of_event == op.EVENT_DELETED and path.startswith(self.root.encode()) and kind_of(path):
            self.world.count("woken")

    def quiet(self):
        for line in self.lines():
            for path in line.now():
                self.world.fail("R4", f"{path} is left behind")

    def finish(self):
        fail = self.world.fail
        for line in self.lines():
            rights, wrong = line.rights()
            for what in wrong:
                fail("R2", what)
            order, lowered = [], line.lowered()
            for holding in self.all:
                if holding.path == line.parent:
                    right = right_of(holding, rights)
                    if right is None or right.at_us > holding.at_us:
                        fail("R2", f"{holding} acquires with {holding.znode}, which had no right to it")
                        continue
                    if right.session_id != holding.hold.session_id:
                        fail("R2", f"{holding} acquires with a znode of session 0x{right.session_id:x}")
                    prompt = holding.at_us - right.at_us <= _PROMPT_US
                    # Where the limit goes down at once, one that has not heard of its right has none any more.
                    missed = any(0 <= at_us - right.at_us <= _PROMPT_US for at_us in lowered)
                    if holding.step.number >= PROBES and not (prompt or missed):
                        fail("L5", f"{holding} has a right to {holding.znode} for long before it acquires")
                    if right.fence != holding.hold.fence:
                        fail("R1", f"{holding}: its znode was made by 0x{right.fence:x}")
                    order.append((right.zxid, holding))
            self.check_fences(sorted(order, key=lambda each: each[0]))
        for before, after in self.downgraded:
            self.check_downgrade(before, after)
        for path, guarded in self.guarded.items():
            if guarded.value != guarded.accepted:
                fail("R1", f"{guarded.accepted} additions were taken at {path}, it shows {guarded.value}")

    def check_fences(self, order):
        """A fence is higher than that of all that had to be over before."""
        highest = highest_written = 0
        for _, holding in order:
            fence = holding.hold.fence
            writes = holding.began_as == "write"
            if holding.began_as != "permits" and fence <= (highest if writes else highest_written):
                self.world.fail("R1", f"{holding} has no higher fence than one before it")
            highest = max(highest, fence)
            if writes:
                highest_written = max(highest_written, fence)

    def check_downgrade(self, before, after):
        """The reader's znode came in the very step in which the writer's went, into its place."""
        reference = self.world.reference
        gone = [state.zxid for state in reference.changes(before.encode(), 0, 1 << 62) if not state.stat and state.zxid]
        made = [state.zxid for state in reference.changes(after.encode(), 0, 1 << 62) if state.stat]
        if not gone or not made or gone[-1] != made[0] or number_of(before.encode()) != number_of(after.encode()):
            self.world.fail("R2", f"{after} does not take the place of {before}")

    def line_of(self, path):
        return ShareLine(self.world.reference, path, "")

    def lines(self):
        return [self.line_of(self.path_of(key)) for key in range(3)]


def right_of(holding, rights):
    """The Right of the znode that it holds; of the last one at its path if none has its fence."""
    at_path = rights.get(holding.znode, [])
    return next((right for right in at_path if right.fence == holding.hold.fence), at_path[-1] if at_path else None)


def kind(holding):
    """As what it holds, as far as it may know."""
    if getattr(holding.hold, "permits", None) is not None:
        return "permits"
    if holding.downgrades:  # from the moment it asks: it hears of it after those that this lets in
        return "read"
    return kind_of(holding.hold.path.encode()).decode()
