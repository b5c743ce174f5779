"""Weights, hand-overs, announcements and latches of elections in simulated runs.

Beside what holds for every election: whoever begins a term is not outweighed by somebody in line, unless it was
appointed; behind a hand-over the appointed one is first; and it does not give way. That a release wakes one waiter (R5)
is for the workload of plain elections: who hands over watches, too.
"""

from contextlib import aclosing

import anyio

from recipes import Election, LeaderLatch
from recipes.core.errors import BadArguments, LeadershipLost, SessionError
from recipes.election.weights import weight_of
from tests.simulation.recipes.holds import Guarded, Holds, owner_id
from tests.simulation.recipes.plan import Step

APPOINTED = b"\0appointed to lead"  # what a hand-over adds to a candidate's data


class Successions:
    """The Workload of a world; see World."""

    kinds = (*["lead"] * 5, *["transfer"] * 4, *["announce"] * 2, *["latch"] * 4, *["leader"] * 2, "break")
    errors = (LeadershipLost, SessionError, BadArguments)
    expected = (
        "lead: free", "lead: waited", "lead: LeadershipLost", "transfer: free", "transfer: waited", "handed over",
        "not handed over", "led behind a hand-over", "nobody to hand over to", "stood down", "gave way", "announced",
        "latch: free", "latch led", "latch did not lead", "latch heard", "seen", "nobody leads", "broken", "body whole",
        "left when lost", "died inside", "cancelled", "close inside",
        "container removed",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.holds = Holds(world, "/successions", "lead-", "R8")
        self.quiet = self.holds.quiet
        self.life_ended = self.holds.life_ended
        self.holder = self.holds.holder
        self.chosen = set()  # ids of those to whom leadership was to be handed over
        self.handed = []  # path of the leader, id of the one appointed

    def event(self, process, kind, path):
        """A watch event has come in."""

    def open(self, process, client):
        """What steps of one session share."""
        return client

    async def act(self, process, client, step):
        """Carry out a step."""
        path = self.holds.path_of(step.key)
        how = {"weight": step.number % 3, "min_hold": (None, 0.05, 0.3)[step.number // 3 % 3]}
        if step.kind == "leader":
            since_zxid = client.session.last_zxid
            self.saw(process, step, await Election(client, path).leader(), since_zxid)
        elif step.kind == "break":
            await self.holds.break_open(process, client, step)
        elif step.kind == "latch":
            await self.latch(process, client, step, LeaderLatch(client, path, b"latch", **how))
        else:
            began_us = process.now_us
            election = Election(client, path, b"candidate", **how)
            try:
                async with election.lead() as term:
                    await self.inside(process, election, step, term, waited=process.now_us - began_us > 50_000)
            except LeadershipLost as error:
                if "weighs more" in str(error):
                    self.world.count("stood down")
                raise

    def saw(self, process, step, leader, since_zxid):
        if leader is None:
            self.world.count("nobody leads")
        else:
            if b"\0" in leader.data:
                self.world.fail("R8", f"{leader.path} shows {leader.data!r}, which its owner did not write")
            self.holds.saw(process, step, leader.path, leader.fence, since_zxid)

    async def inside(self, process, election, step, term, waited):
        holding = self.holds.acquired(process, step, term, waited)
        try:
            if step.kind == "announce":
                await term.announce(b"number %d" % step.number)
                self.world.count("announced")
                leader = await election.leader()
                if leader is not None and leader.path == term.path and leader.data != b"number %d" % step.number:
                    self.world.fail("R8", f"{holding} has announced, and {leader.data!r} is shown")
            await self.holds.use(holding)
            if step.kind == "transfer":
                await self.transfer(holding, election, step, term)
        finally:
            self.holds.left(holding, process)

    async def transfer(self, holding, election, step, term):
        others = [each for each in await election.candidates() if each.path != term.path]
        if not others:
            self.world.count("nobody to hand over to")
            return
        to = others[step.number % len(others)]
        # By its id: it may have moved to the end of the line since it was listed, with a new znode.
        self.chosen.add(owner_id(to.path))
        done = await term.transfer(to, within=1.0)
        self.world.count("handed over" if done else "not handed over")
        if done:
            self.handed.append((holding.path, term.path, owner_id(to.path)))
        if not term.ended.is_set():
            self.world.fail("R8", f"{holding} has handed over, and is not told so")

    async def latch(self, process, client, step, latch):
        with anyio.move_on_after(0.3 + step.for_us / 1e6):
            async with latch, aclosing(latch.changes()) as changes:
                async for leads in changes:
                    self.world.count("latch led" if leads else "latch did not lead")
                    if leads and (term := latch.term) is not None:
                        await self.act_as_leader(process, step, latch, term)
        self.world.count("latch heard")
        if latch.is_leader:
            self.world.fail("R8", f"the latch of step {step.number} was left, and says that it leads")

    async def act_as_leader(self, process, step, latch, term):
        """Nobody is cancelled: it asks before each thing that it does."""
        holding = self.holds.acquired(process, step, term, waited=False)
        guarded = self.holds.guarded.setdefault(holding.path, Guarded())
        try:
            while latch.is_leader and latch.term is term:
                value = guarded.read(term.fence)
                if value is None or not guarded.write(term.fence, value + 1):
                    self.world.count("fence refused")
                    if latch.is_leader and self.world.plan.bounded and not self.holds.is_broken(term.path):
                        self.world.fail("R8", f"{holding} is refused, and says that it leads")
                await anyio.sleep(0.02)
        finally:
            self.holds.left(holding, process)

    # In the end.

    def finish(self):
        self.holds.finish()
        for line in self.holds.lines():
            firsts = line.firsts()
            by_path = {first.path: first for first in firsts}
            began = {holding.hold.path: holding for holding in self.holds.all if holding.path == line.parent}
            for path, holding in began.items():
                if path in by_path and not self.was_appointed(path):
                    self.check_weight(line, by_path[path], holding)
            successors = [
                self.check_handed(line, firsts, by_path[leader], to)
                for parent, leader, to in self.handed
                if parent == line.parent and leader in by_path
            ]
            self.check_gave_way(line, by_path, began, successors)

    def check_weight(self, line, first, holding):
        """Nobody that weighs more was in line from the moment on at which it was first to the beginning of its term."""
        name, heavier = first.path.rpartition("/")[2], None
        for state in self.world.reference.changes(line.parent.encode(), first.zxid, 1 << 62):
            if line.at_us(state.zxid) > holding.at_us:
                break
            here = {each.decode() for each in state.children if weight_of(each.decode()) > weight_of(name)}
            heavier = here if heavier is None else heavier & here
            if not heavier:
                return
        self.world.fail("R8", f"{holding} begins a term with {name}, and {sorted(heavier)} waits behind it")

    def was_appointed(self, path):
        """Whether leadership was to be handed over to this znode's candidate, and the znode has shown it."""
        states = self.world.reference.changes(path.encode(), 0, 1 << 62)
        return owner_id(path) in self.chosen and any(APPOINTED in (state.data or b"") for state in states)

    def check_handed(self, line, firsts, leader, to):
        """Nobody was first between the one that handed over and the one it had appointed, unless that one was gone.

        Returns the path of the one it had appointed, once that one was first.
        """
        behind = firsts[firsts.index(leader) + 1 :]
        if behind and owner_id(behind[0].path) != to:
            names = self.world.reference.at(line.parent.encode(), behind[0].zxid).children
            here = [path for path in map(line.path, names) if owner_id(path) == to and self.was_appointed(path)]
            if here:
                self.world.fail("R8", f"{leader.path} has handed over to {here[0]}, and {behind[0].path} leads")
        elif behind:
            self.world.count("led behind a hand-over")
            return behind[0].path
        return None

    def check_gave_way(self, line, by_path, began, successors):
        """Who was first and comes again, without a term, has given way."""
        ids = {}
        for state in self.world.reference.changes(line.parent.encode(), 0, 1 << 62):
            for name in line.names(state.children):
                ids.setdefault(name.decode().split("-")[0], {})[line.path(name)] = None
        for paths in ids.values():
            for path in list(paths)[:-1]:
                if path in by_path and path not in began:
                    self.world.count("gave way")
                    if path in successors:
                        self.world.fail("R8", f"{path} gives way, and was appointed")

    def probes(self):
        """Steps that must succeed at once when nothing goes wrong."""
        return [Step(0, 0, "lead", key, 1_000_000 + key, 0, -1, "") for key in range(3)]
