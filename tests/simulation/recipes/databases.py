"""Simulated databases that take part in transactions: requests and answers are lost, late and repeated, and processes
are cut off from one of them; what a database has made durable it keeps. A branch's work is a connection's, and dies
with the process that opened it.
"""

import anyio

from recipes.core.sim.chance import between, happens
from recipes.transaction.branch import STEPS, Answer, BranchState, Deed, Request
from recipes.transaction.participant import Waiting
from recipes.transaction.stages import CommitProtocol


class Database:
    """One of them. told: called with each branch that ends there, its state, and the Participant that asked for it."""

    def __init__(self, name, world, chance, told):
        self.name = name
        self.world = world
        self.chance = chance
        self.told = told
        self.states = {}
        self.working = {}  # branch -> (process, life) that its connection is of
        self.held = {}  # the same of those whose process has neither let them prepare nor aborted them
        self.read_only = set()  # branches that changed nothing: they have no outcome
        self.kept = {}  # branch -> its state when it last did something
        self.waits = {}  # branch that is prepared -> its protocol, and since when
        self.yes = set()  # branches that have voted so
        self.up = True
        self.lossy = False
        self.cut_off = []  # processes that do not reach it

    def __repr__(self):
        return self.name

    def crash(self, for_us):
        """Connections are gone, and with them what was not prepared."""
        if self.up:
            self.up = False
            self.working.clear()
            self.held.clear()
            self.world.count("database down")
            self.world.timeline.after(for_us, self.restart)

    def restart(self):
        self.up = True

    def cut(self, process, for_us):
        """Nothing goes between it and the process."""
        self.cut_off.append(process)
        self.world.count("cut off from a database")
        self.world.timeline.after(for_us, self.mend, process)

    def mend(self, process):
        if process in self.cut_off:
            self.cut_off.remove(process)

    def calm(self):
        """All is well from here on."""
        self.up, self.lossy = True, False
        self.cut_off.clear()

    def arrives(self, request, branch, by, protocol):
        """A request is carried out; the answer, None when there is none."""
        if not self.up or by.process in self.cut_off:
            return None
        life = by.life
        state = self.states.get(branch, BranchState.ABSENT)
        step = STEPS[state, request]
        state, answer = step.state, step.answer
        if step.deed in (Deed.CHECK, Deed.WRITE):
            lost = self.working.get(branch) != life
            if lost or happens(self.chance, 0.05):
                state, answer = BranchState.ABORTED, Answer.REFUSED
            elif step.deed is Deed.WRITE and happens(self.chance, 0.1):
                state, answer = BranchState.ABSENT, Answer.READ_ONLY
                self.read_only.add(branch)
            if step.deed is Deed.WRITE:
                self.working.pop(branch, None)
                if answer is not Answer.REFUSED:
                    self.yes.add(branch)
        elif step.deed in (Deed.UNDO, Deed.MARK):
            self.working.pop(branch, None)
        if request is Request.FORGET:
            self.world.count("forgotten")
            if state is BranchState.ABSENT:
                self.states.pop(branch, None)
            return answer
        if state is not self.states.get(branch, BranchState.ABSENT):
            self.states[branch] = state
            if state is BranchState.PREPARED:
                self.waits[branch] = protocol, self.world.timeline.now_us
            else:
                self.waits.pop(branch, None)
            if branch not in self.read_only and self.kept.setdefault(branch, state) in (state, BranchState.PREPARED):
                self.kept[branch] = state
                self.told(branch, state, by)
        # A request that is repeated behind FORGET meets a mark, or nothing, and changes nothing.
        wanted = BranchState.COMMITTED if request is Request.COMMIT else BranchState.ABORTED
        if answer is Answer.CONTRADICTION and self.kept.get(branch) is not wanted:
            self.world.fail("R11", f"{branch} is told to {request.name}, and was {state.name}")
        return answer

    def prepared(self):
        return [branch for branch, state in self.states.items() if state is BranchState.PREPARED]

    def waiting(self):
        now_us = self.world.timeline.now_us
        return [Waiting(branch, protocol, (now_us - since) / 1e6) for branch, (protocol, since) in self.waits.items()]


class Participant:
    """A database as one process reaches it. times_out: this is the one that a Termination has."""

    def __init__(self, database, process, *, times_out=False):
        self.database = database
        self.process = process
        self.life = (process, process.life)
        self.times_out = times_out

    async def open(self):
        await self.send(lambda: True if self.database.up and self.process not in self.database.cut_off else None)

    async def begin(self, branch):
        self.database.working[branch] = self.database.held[branch] = self.life

    def let_go(self, branch):
        """What this process has at work ends, whether the request arrives or not: the connection is its own."""
        if self.database.held.get(branch) == self.life:
            del self.database.held[branch]

    async def can_commit(self, branch):
        return await self.ask(Request.CAN_COMMIT, branch)

    async def prepare(self, branch):
        self.let_go(branch)
        return await self.ask(Request.PREPARE, branch)

    async def pre_commit(self, branch):
        self.let_go(branch)
        return await self.ask(Request.PREPARE, branch, CommitProtocol.THREE_PHASE)

    async def commit(self, branch):
        return await self.ask(Request.COMMIT, branch)

    async def abort(self, branch):
        self.let_go(branch)
        return await self.ask(Request.ABORT, branch)

    async def forget(self, branch):
        return await self.ask(Request.FORGET, branch)

    async def recover(self):
        return [branch for branch, _, _ in await self.waiting()]

    async def waiting(self):
        return await self.send(lambda: self.database.waiting() if self.database.up else None)

    async def ask(self, request, branch, protocol=CommitProtocol.TWO_PHASE):
        return await self.send(lambda: self.database.arrives(request, branch, self, protocol))

    async def send(self, request):
        """Whether it is cancelled or not, what was sent arrives, or is lost. request: carries it out; gives the answer,
        None when there is none."""
        database, timeline, loop = self.database, self.process._ensemble.timeline, self.process.loop
        chance = database.chance
        if not database.up and happens(chance, 0.5):
            database.world.count("connection refused")
            raise ConnectionRefusedError(f"{database} is down")
        answered, answers = anyio.Event(), []
        loses = database.lossy and happens(chance, 0.3)
        late_us = between(chance, 200, 400_000 if database.lossy and happens(chance, 0.2) else 2_000)

        def carried_out():
            answer = request()
            if happens(chance, 0.5) and loses:
                database.world.count("answer lost")
            elif answer is not None and self.process not in database.cut_off:
                timeline.after(between(chance, 200, 2_000), told, answer)

        def told(answer):
            if not loop.dead:
                answers.append(answer)
                loop.arrived(answered.set)

        if (loses and happens(chance, 0.5)) or self.process in database.cut_off:
            database.world.count("request lost")
        else:
            timeline.after(late_us, carried_out)
            if database.lossy and happens(chance, 0.1):
                database.world.count("request repeated")
                timeline.after(between(chance, 200, 800_000), carried_out)
        await answered.wait()
        return answers[0]
