"""What two-phase and three-phase commit are weak at as they are taught, each in a simulated story that always goes the
same way: shown with the decision record switched off, and gone with it on. And what a time-out that guesses comes to.
"""

from contextlib import contextmanager, suppress
from functools import partial
from random import Random

import anyio
import pytest

from recipes import Election
from recipes.core.errors import RecipesError, TransactionAborted, TransactionInDoubt
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.loop import scopes_in_order
from recipes.core.sim.plan import Fault, draw_plan
from recipes.core.sim.process import Process
from recipes.core.sim.process_faults import ProcessNemesis
from recipes.transaction.branch import BranchState, Request
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.memory import MemoryParticipant
from recipes.transaction.record import Records
from recipes.transaction.stages import Stage
from recipes.transaction.termination import Termination

PREPARED, COMMITTED, ABORTED = BranchState.PREPARED, BranchState.COMMITTED, BranchState.ABORTED
FOREVER_US = 10**12
LONG = 60.0  # seconds of virtual time, of which a coordinator's session takes 4


class InItsOwnMemory(Records):
    """Records that a coordinator keeps to itself, as in the textbook."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.kept = {}

    async def read(self, transaction):
        return self.kept.get(transaction)

    async def write(self, record, guard):
        return self.kept.setdefault(record.id, record)

    async def decide(self, record, decision, guard, why="", done=()):
        if self.kept[record.id].decision is None:
            self.kept[record.id] = record._replace(decision=decision, why=why, version=record.version + 1)
        return self.kept[record.id]


class Line:
    """A participant as one process reaches it, unless the two are cut off from each other."""

    def __init__(self, story, process, name):
        self.story = story
        self.process = process
        self.name = name

    async def call(self, method, *arguments):
        if (self.process, self.name) in self.story.cut:
            raise ConnectionError("the network is cut")
        await anyio.sleep(0.001)  # it is on its way, and is lost where its sender dies before
        return await getattr(self.story.parties[self.name], method)(*arguments)

    async def begin(self, branch):
        return await self.call("begin", branch)

    async def can_commit(self, branch):
        return await self.call("can_commit", branch)

    async def pre_commit(self, branch):
        return await self.call("pre_commit", branch)

    async def prepare(self, branch):
        return await self.call("prepare", branch)

    async def commit(self, branch):
        return await self.call("commit", branch)

    async def abort(self, branch):
        return await self.call("abort", branch)

    async def recover(self):
        return await self.call("recover")

    async def waiting(self):
        return await self.call("waiting")


class Story:
    """Processes around two participants, "a" and "b", on one simulated server."""

    def __init__(self, programs):
        def sources(purpose):
            return Random(f"transactions/{purpose}")

        plan = draw_plan(sources, 1, 0, 1)._replace(
            clients=0, operations=[], faults=[], rates_pm=(1000,), delay_us=1000, cut_probability=0.0, tick_ms=100
        )
        self.parties = {"a": MemoryParticipant(), "b": MemoryParticipant()}
        self.cut = set()  # (process, participant) that do not reach each other
        self.heard = {}  # process -> what it was told of its transaction
        self.ensemble = Ensemble(plan, sources)
        self.timeline = self.ensemble.timeline
        self.processes = [
            Process(self.ensemble, 200 + number, partial(program, self), sources)
            for number, program in enumerate(programs)
        ]
        for number, process in enumerate(self.processes):
            self.timeline.at(400_000 + 100_000 * number, process.start)

    def lines(self, process):
        return {name: Line(self, process, name) for name in self.parties}

    def kill(self, process, after_us=0):
        """For ever."""
        self.timeline.after(after_us, process.crash, FOREVER_US)

    def cut_off_from_the_store(self, process, seconds):
        fault = Fault(0, "cut off", 0, int(seconds * 1e6), 2)
        self.timeline.after(0, ProcessNemesis(self.ensemble, 4000).strike, process, fault)

    def run(self, seconds):
        self.timeline.run_until(self.timeline.now_us + int(seconds * 1e6))

    def states(self):
        """Of the first transaction's branches."""
        first = min(branch.transaction for party in self.parties.values() for _, branch in party.requests[:1])
        return tuple(
            next((state for branch, state in party.states.items() if branch.transaction == first), None)
            for party in self.parties.values()
        )

    def values(self):
        return tuple(party.values.get("x") for party in self.parties.values())


@contextmanager
def told(*programs):
    with scopes_in_order():
        story = Story(programs)
        try:
            yield story
        finally:
            for process in story.processes:
                process.bury()
    assert [problem for process in story.processes for problem in process.problems()] == []


async def enter(story, process, client):
    """A coordinator that is not left: its end is that of its process."""
    coordinator = Coordinator(client, "/transactions", participants=story.lines(process))
    return await coordinator.__aenter__()


def coordinating(protocol="2pc", reached=lambda story, process, stage: None):
    """A coordinator with one transaction. reached: called with each of its stages."""

    async def program(story, process):
        async with process.connect(4.0) as client:
            coordinator = await enter(story, process, client)
            await anyio.sleep(1.0)  # until all others are there
            with suppress(TransactionAborted, TransactionInDoubt):
                async with coordinator.begin(protocol=protocol, deadline=2.0) as tx:
                    driver = tx._driver
                    note = driver._note

                    def hear(*event):
                        note(*event)
                        reached(story, process, driver.stage)

                    driver._note = hear
                    for name in story.parties:
                        (await tx.enlist(name))["x"] = 1
            await anyio.sleep_forever()

    return program


async def another(story, process):
    """Another coordinator of the same fleet, which has a transaction with the same keys much later."""
    async with process.connect(4.0) as client:
        coordinator = await enter(story, process, client)
        await anyio.sleep(LONG / 2)
        story.leaders = await Election(client, "/transactions/default/serving").candidates()
        try:
            async with coordinator.begin(deadline=2.0) as tx:
                for name in story.parties:
                    (await tx.enlist(name))["x"] = 2
            story.heard[process] = "commit"
        except RecipesError as error:
            story.heard[process] = type(error).__name__
        await anyio.sleep_forever()


@pytest.fixture(params=["in its own memory", "in the store"])
def with_record(request, monkeypatch):
    """Whether the decision record is on."""
    if request.param == "in its own memory":
        monkeypatch.setattr("recipes.transaction.coordinator.Records", InItsOwnMemory)
    return request.param == "in the store"


def test_participants_block_when_the_coordinator_dies_before_it_decides(with_record):
    """The notes' first: all that take part hold their locks, and others cannot get at what they have."""
    with told(coordinating(), another) as story:

        async def die(request, branch):
            if request is Request.PREPARE and branch.transaction in {each.transaction for each in first}:
                story.kill(story.processes[0])
                await anyio.sleep_forever()

        first = []

        async def note(request, branch):
            if not first:
                first.append(branch)

        story.parties["a"].before = note
        story.parties["b"].after = die
        story.run(LONG)
        another_heard = story.heard[story.processes[1]]
        if with_record:
            assert story.states() == (ABORTED, ABORTED)
            assert (another_heard, story.values()) == ("commit", (2, 2))
        else:
            assert story.states() == (PREPARED, PREPARED)
            assert (another_heard, story.values()) == ("TransactionAborted", (None, None))


def dies_in(wanted, after_us=0):
    def reached(story, process, stage):
        if stage is wanted:
            story.kill(process, after_us)

    return reached


def test_one_coordinator_is_a_single_point_of_failure(with_record):
    """The notes' second: another one is elected, and cannot help, since only the dead one knew what it had decided."""
    with told(coordinating(reached=dies_in(Stage.COMMITTING)), another) as story:
        story.run(LONG / 4)
        after_a_while = story.states()
        story.run(LONG)
        assert len(story.leaders) == 1  # the other one, by now
        if with_record:
            assert story.values() == (2, 2)  # first 1, and then the other's
            assert PREPARED not in after_a_while
        else:
            assert after_a_while == story.states() == (PREPARED, PREPARED)


def test_phase_two_leaves_some_committed_and_some_not(with_record):
    """The notes' third: the network fails, or the coordinator dies, when some have heard of the commit."""

    def reached(story, process, stage):
        if stage is Stage.COMMITTING:
            story.cut.add((process, "b"))
            story.kill(process, 100_000)

    with told(coordinating(reached=reached), another) as story:
        story.run(LONG / 4)
        if with_record:
            assert story.values() == (1, 1)
        else:
            assert story.values() == (1, None)
            story.run(LONG)
            assert story.states() == (COMMITTED, PREPARED)


async def beside_a(story, process, on_timeout):
    """The process that has participant "a", and ends what waits there for too long."""
    async with process.connect(4.0, renew=True) as client:
        await anyio.sleep(0.5)  # until there are coordinators
        own = {"a": story.parties["a"]}
        async with Termination(client, "/transactions", own, after=3.0, on_timeout=on_timeout):
            await anyio.sleep_forever()


@pytest.mark.parametrize(("on_timeout", "in_the_partition", "at_last"), [
    ("commit", (COMMITTED, ABORTED), (COMMITTED, ABORTED)),
    ("ask", (PREPARED, ABORTED), (ABORTED, ABORTED)),
])  # fmt: skip
def test_three_phase_commit_splits_where_a_time_out_commits_and_not_where_it_asks(
    on_timeout, in_the_partition, at_last
):
    """As the notes say, neither protocol solves it completely: "a" is cut off when "b" fails, and commits alone."""
    with told(coordinating("3pc"), partial(beside_a, on_timeout=on_timeout)) as story:
        coordinator, beside = story.processes

        async def fail(request, branch):
            if request is Request.PREPARE:
                story.cut.add((coordinator, "a"))
                story.cut_off_from_the_store(beside, 20.0)
                raise ConnectionError("it is away for a moment")

        story.parties["b"].before = fail
        story.run(15.0)
        assert story.states() == in_the_partition
        story.cut.clear()
        story.run(LONG)
        assert story.states() == at_last


def test_a_branch_of_two_phase_commit_never_commits_by_itself():
    with told(coordinating("2pc"), partial(beside_a, on_timeout="commit")) as story:
        coordinator, beside = story.processes

        async def fail(request, branch):
            if request is Request.PREPARE:
                story.cut.add((coordinator, "a"))
                story.cut_off_from_the_store(beside, 20.0)
                raise ConnectionError("it is away for a moment")

        story.parties["b"].before = fail
        story.run(15.0)
        assert story.states() == (PREPARED, ABORTED)
