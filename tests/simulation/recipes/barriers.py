"""Barrier, CountDownLatch and DoubleBarrier in simulated runs: R10.

Each party has a name of its own, so that the members of a round say which programs are in it. At the moment of each
entry and of each leaving, what the others have done is known here.
"""

import anyio

from recipes import Barrier, CountDownLatch, DoubleBarrier
from recipes.core.errors import BarrierFull, BrokenBarrier, SessionError
from tests.simulation.recipes.clean_up import at_the_end
from tests.simulation.recipes.plan import Step

PARTIES = 3
COUNT = 4  # of each latch
STEPS_PER_LATCH = 9
PATIENCE = 1.5  # seconds that a party waits for the others, and for the end of its round
EVERYBODY = 3  # the key of the barrier at which all processes meet in the end


class Failure(Exception):
    """What a block raises that fails on purpose."""


class Visit:
    """One party's way through one round. inside: since it entered, until its block ended; left: by its end."""

    def __init__(self, process, session, name):
        self.process = process
        self.session = session
        self.name = name
        self.round = None
        self.inside = self.left = self.died = False

    def is_dead(self, tree):
        """Whether, for the others, it does not come back: it failed, or gave up, or its session has ended."""
        gone = self.died or self.session.id not in tree.sessions
        return gone or (self.round is None and not self.is_in_line(tree))

    def is_in_line(self, tree):
        """Whether others take it to be there: it gives up some time before its program knows that it has."""
        mine = f"@{self.name}-".encode()
        if any(mine in path and path.endswith(b".left") for path in tree.nodes):
            return False
        return any(mine in path for path in tree.ephemerals.get(self.session.id, ()))


class Barriers:
    """The Workload of a world; see World."""

    kinds = (*["meet"] * 14, *["fail"] * 2, *["gate"] * 2, *["pass"] * 2, *["count"] * 5, *["await"] * 2)
    errors = (BarrierFull, BrokenBarrier, SessionError)
    expected = (
        "break: entered", "shrink: entered", "wait: entered", "break: left", "shrink: left", "wait: left",
        "shrink: with fewer", "wait: in the place of another", "broken: not in", "broken: inside", "gave up",
        "meet: BarrierFull", "meet: SessionExpired", "failed", "told that it is broken", "gate: closed", "pass: waited",
        "count: counted", "count: there already", "await: waited", "cancelled", "close inside", "died inside",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.visits = {}  # name -> Visit
        self.rounds = {}  # (key, number) -> the members that every party of it was told
        self.endings = {}  # (key, number) -> how its leaving ended: "" well, else who broke it
        self.counted = {}  # (path of a latch, token) -> the step that was told that it counted

    def path_of(self, key):
        return f"/barriers/{key}"

    def on_death_of(self, key):
        """Alike in one run, another with another number of processes: so a run with one key has each of them, too."""
        return "break" if key == EVERYBODY else ("shrink", "wait", "break")[(key + len(self.world.processes)) % 3]

    def parties_of(self, key):
        return len(self.world.processes) if key == EVERYBODY else PARTIES

    def open(self, process, client):
        """What steps of one session share."""
        return client

    async def act(self, process, client, step):
        """Carry out a step."""
        if step.kind in ("meet", "fail"):
            await self.meet(process, client, step)
        elif step.kind == "gate":
            await self.close_for_a_while(Barrier(client, f"/gates/{step.key}"), step)
        elif step.kind == "pass":
            await self.go_through(client, Barrier(client, f"/gates/{step.key}"), step)
        else:
            path = f"/latches/{step.key}-{step.number // STEPS_PER_LATCH}"
            latch = CountDownLatch(client, path, COUNT)
            if step.kind == "count":
                await self.count_down(latch, path, step)
            else:
                await self.go_through_latch(latch, path, step)

    # Rounds.

    async def meet(self, process, client, step):
        """Go through a round. Of some steps, through the next one, too: at once, and with an empty block."""
        key, name = step.key, f"{process.site}.{process.life}.{step.number}"
        barrier = DoubleBarrier(
            client, self.path_of(key), self.parties_of(key), on_death=self.on_death_of(key), name=name
        )
        if await self.go_through_a_round(process, client, step, barrier, name) and step.number % 3 == 0:
            name += "+"
            barrier._settings = barrier._settings._replace(name=name)
            await self.go_through_a_round(process, client, step._replace(for_us=0), barrier, name)

    async def go_through_a_round(self, process, client, step, barrier, name):
        """Returns whether it has left it."""
        world, key = self.world, step.key
        visit = self.visits[name] = Visit(process, client.session, name)
        try:
            with anyio.move_on_after(PATIENCE) as patience:
                async with barrier as entered:
                    self.has_entered(visit, key, entered)
                    await self.be_inside(visit, step, entered)
                self.has_left(visit, key)
            if patience.cancelled_caught:
                world.count("gave up")
        except Failure:
            world.count("failed")
        except BrokenBarrier as error:
            self.is_broken(visit, key, error)
            raise
        finally:
            visit.inside = False
            visit.died = not visit.left
            if visit.died:
                process.note(f"{name} is out")
        return visit.left and not patience.cancelled_caught

    async def be_inside(self, visit, step, entered):
        visit.inside = True
        try:
            if step.for_us:
                await anyio.sleep(step.for_us / 1e6)
            if step.kind == "fail":
                raise Failure
            if entered.broken.is_set():
                self.world.count("told that it is broken")
            visit.left = True  # that it leaves, for whatever reason the leaving ends
        finally:
            visit.inside = False
            visit.died = not visit.left

    def has_entered(self, visit, key, entered):
        """All who are named have come, all are told the same, and nobody is in it who is not named."""
        fail, on_death, number = self.world.fail, self.on_death_of(key), entered.number
        visit.round = key, number
        where = f"round {number} of {self.path_of(key)}"
        self.world.count(f"{on_death}: entered")
        visit.process.note(f"{visit.name} enters {where} with {entered.members}")
        members = self.rounds.setdefault((key, number), entered.members)
        if members != entered.members:
            fail("R10", f"{visit.name} is told that {entered.members} are in {where}, others that {members} are")
        if len(members) != self.parties_of(key):
            self.world.count(f"{on_death}: with fewer")
            if on_death != "shrink" or len(members) > PARTIES:
                fail("R10", f"{visit.name} enters {where} with {members}, not {self.parties_of(key)} parties")
        if len(set(members)) != len(members) or not set(members) <= self.visits.keys():
            fail("R10", f"{visit.name} enters {where} with {members}, of whom not all have come")
        if visit.name not in members:
            self.world.count(f"{on_death}: in the place of another")
            tree = self.world.reference.tree
            here = [each for each in self.visits.values() if each.round == visit.round and each.name not in members]
            alive = [each.name for each in here if not each.is_dead(tree)]
            # One that began to leave has died inside for others, too, when its session ended before it could say so.
            free = [name for name in members if self.visits[name].is_dead(tree)]
            if on_death != "wait" or len(alive) > len(free):
                fail("R10", f"{alive} are in {where} beside {members}, of whom {free} have died")

    def has_left(self, visit, key):
        """All have left, or died where that is no matter."""
        on_death = self.on_death_of(key)
        self.world.count(f"{on_death}: left")
        visit.process.note(f"{visit.name} has left")
        tree = self.world.reference.tree
        others = [self.visits[name] for name in self.rounds[visit.round]]
        missing = [each for each in others if not each.left]
        names = [each.name for each in missing]
        where = f"round {visit.round[1]} of {self.path_of(key)}"
        if any(not each.is_dead(tree) for each in missing):
            self.world.fail("R10", f"{visit.name} has left {where}, and of {names} not all have left or died")
        if on_death == "break" and missing:
            self.world.fail("R10", f"{visit.name} has left {where} well, in which {names} died")
        if on_death == "wait":
            here = [each for each in self.visits.values() if each.round == visit.round and each not in others]
            if len(missing) > sum(each.left for each in here):
                self.world.fail("R10", f"{visit.name} has left {where}, and nobody has replaced all of {names}")
        self.ends(visit, "")

    def is_broken(self, visit, key, error):
        number = error.round
        visit.process.note(f"{visit.name} is told: {error}")
        if visit.round is not None:
            self.world.count("broken: inside")
            self.ends(visit, error.who)
            return
        self.world.count("broken: not in")
        members = self.rounds.get((key, number), ())
        if visit.name in members:
            self.world.fail("R10", f"{visit.name} is told that round {number} is broken, others entered with {members}")
        if self.on_death_of(key) != "break":
            self.world.fail("R10", f"{visit.name} is told {error}, where nobody breaks a round")

    def ends(self, visit, who):
        if self.endings.setdefault(visit.round, who) != who:
            told = self.endings[visit.round]
            self.world.fail("R10", f"{visit.name} learns of the end of {visit.round} by {who!r}, others by {told!r}")

    # Gates and latches.

    async def close_for_a_while(self, gate, step):
        async with at_the_end(gate.remove):
            self.world.count("gate: closed" if await gate.create() else "gate: was closed")
            await anyio.sleep(step.for_us / 1e6)

    async def go_through(self, client, gate, step):
        """Once it is tired of waiting it opens the gate itself; then it must get through."""
        path = f"/gates/{step.key}"
        await self.get_through(
            client, path, step, gate.wait, gate.remove, lambda states: any(each.stat is None for each in states)
        )

    async def go_through_latch(self, latch, path, step):
        tokens = iter(range(100))

        async def open_it():
            for _ in range(COUNT):
                await latch.count_down(f"{step.number}-{next(tokens)}")

        def is_open(states):
            return any(len(each.children) >= COUNT for each in states)

        await self.get_through(latch._client, path, step, latch.wait, open_it, is_open)

    async def get_through(self, client, path, step, wait, open_it, is_open):
        """Wait, and open it after some time; whoever passes saw it open at some time since it began to wait."""
        since_zxid, began_us = client.session.last_zxid, self.world.timeline.now_us

        async def grow_tired():
            while True:
                await anyio.sleep(0.3)
                await open_it()

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(grow_tired)
                await wait()
                tasks.cancel_scope.cancel()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        if not is_open(self.world.reference.changes(path.encode(), since_zxid, 1 << 62)):
            self.world.fail("R10", f"step {step.number} passes {path}, which was not open since 0x{since_zxid:x}")
        self.world.count(f"{step.kind}: {'waited' if self.world.timeline.now_us - began_us > 50_000 else 'free'}")

    async def count_down(self, latch, path, step):
        token = None if step.number % 4 == 0 else f"job {step.number % STEPS_PER_LATCH // 2}"
        counted = await latch.count_down(token)
        self.world.count(f"count: {'counted' if counted else 'there already'}")
        if counted and token is not None:
            other = self.counted.setdefault((path, token), step)
            if other is not step:
                self.world.fail("R10", f"steps {other.number} and {step.number} both counted {token!r} at {path}")

    # What a world asks for.

    def holder(self, process=None):
        """A process that is inside a round now, this one if it is; None when there is none."""
        here = (visit.process for visit in self.visits.values() if visit.inside)
        return next((each for each in here if process in (None, each)), None)

    def life_ended(self, process):
        """It has died, or its program is done."""
        for visit in self.visits.values():
            if visit.process is process and visit.inside:
                self.world.count("died inside")
                visit.inside = False

    def event(self, process, kind, path):
        """A watch event has come in."""

    def probes(self):
        """Steps that must succeed when nothing goes wrong: all processes meet."""
        return [Step(0, 0, "meet", EVERYBODY, 1_000_000, 10_000, -1, "")]

    def quiet(self):
        """Nobody has anything to do: nobody stands in line, nobody watches, and old rounds are cleared away."""
        tree = self.world.reference.tree
        for process, client in self.world.clients.items():
            for path in tree.ephemerals.get(client.session.id, ()):
                self.world.fail("R4", f"{path.decode()} is left behind")
            if left := [path for table in client.session.watches.values() for path in table]:
                self.world.fail("R4", f"{process} still watches {left}")

    def finish(self):
        """All have met, and each latch that somebody passed stays open."""
        met = [visit for visit in self.visits.values() if visit.round and visit.round[0] == EVERYBODY and visit.left]
        if len(met) != len(self.world.processes):
            self.world.fail("L5", f"only {[visit.name for visit in met]} have met")
